// A plan's own data; what its steps mean is in plan.py.
#pragma once
#include <cstdint>
#include <mutex>
#include <vector>

#include "dsnn_kernels.h"

namespace dsnn {

struct Memory {
  uint8_t* data;
  int64_t bytes;
};

class Plan {
 public:
  Plan() = default;
  ~Plan();
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  std::vector<DsnnActivation> activations;
  std::vector<DsnnStep> steps;
  int64_t n_inputs = 0, n_outputs = 0;
  int64_t image_bytes = 0;     // of all activations of one image
  int64_t image_products = 0;  // multiply-accumulates of one image

  // Memory that stays the plan's from call to call, so that no call meets fresh pages; calls may run at the same time.
  Memory take(int64_t bytes);
  void give(Memory memory);

 private:
  std::mutex mutex_;
  std::vector<Memory> free_;
};

}  // namespace dsnn
