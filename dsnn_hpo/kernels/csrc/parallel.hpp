// Work in parts that run at the same time.
#pragma once
#include <atomic>
#include <new>

namespace dsnn {

// Calls work(part) for all parts, each in a thread of its own; returns whether there was memory for it.
template <typename Work>
bool in_parallel(int n_parts, const Work& work) {
  std::atomic<bool> has_memory{true};
#pragma omp parallel for num_threads(n_parts) schedule(static) if (n_parts > 1)
  for (int part = 0; part < n_parts; ++part) {
    // An exception must not leave a parallel region.
    try {
      work(part);
    } catch (const std::bad_alloc&) {
      has_memory = false;
    }
  }
  return has_memory;
}

}  // namespace dsnn
