// The choice of an instruction set, once, at the first call.
#include <atomic>
#include <cstring>

#include "dsnn_kernels.h"
#include "isa.hpp"

namespace dsnn {
namespace {

bool supported(const Isa& isa) {
#ifdef DSNN_X86
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (&isa == &kAvx2) return avx2;
  if (&isa == &kAvx512) return avx512;
  if (&isa == &kAvx512Vnni) return avx512 && __builtin_cpu_supports("avx512vnni");
#endif
  return &isa == &kPortable;
}

// Best first.
const Isa* const kAll[] = {
#ifdef DSNN_X86
    &kAvx512Vnni, &kAvx512, &kAvx2,
#endif
    &kPortable};

std::atomic<const Isa*> chosen{nullptr};

}  // namespace

const Isa& isa() {
  const Isa* current = chosen.load(std::memory_order_relaxed);
  if (current) return *current;
  for (const Isa* candidate : kAll) {
    if (!supported(*candidate)) continue;
    chosen.store(candidate, std::memory_order_relaxed);
    return *candidate;
  }
  return kPortable;
}

}  // namespace dsnn

int32_t dsnn_abi_version(void) { return DSNN_ABI_VERSION; }

const char* dsnn_isa(void) { return dsnn::isa().name; }

int32_t dsnn_set_isa(const char* name) {
  for (const dsnn::Isa* candidate : dsnn::kAll) {
    if (std::strcmp(candidate->name, name) != 0 || !dsnn::supported(*candidate)) continue;
    dsnn::chosen.store(candidate, std::memory_order_relaxed);
    return 0;
  }
  return 1;
}
