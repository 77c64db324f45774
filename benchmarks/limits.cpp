// What this machine can do at most: multiply-accumulates a second, and bytes read a second.
// Compiled by the benchmark for the processor that it runs on.
#ifdef __x86_64__
#include <immintrin.h>
#endif
#include <omp.h>
#include <stdint.h>

#include <chrono>
#include <ctime>
#include <vector>

namespace {

constexpr int kSums = 16;  // Independent ones, enough to hide the latency of one instruction.
constexpr long kSteps = 4000000;
constexpr int kAttempts = 9;  // The fastest counts: neighbours on the machine only slow down.

volatile int64_t sink;

// On one thread the processor's time, which neighbours on the machine disturb less; else the clock on the wall.
double now(int n_threads) {
  if (n_threads == 1) return double(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds until body has run in all threads.
template <typename Body>
double seconds(int n_threads, Body body) {
  const double start = now(n_threads);
#pragma omp parallel num_threads(n_threads)
  body();
  return now(n_threads) - start;
}

// Multiply-accumulates a second, of an instruction that does n_lanes of them; step(sum) is the instruction.
template <typename Vector, typename Step>
double rate(int n_threads, int n_lanes, Step step) {
  auto body = [&] {
    Vector sums[kSums] = {};
    for (long i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kSums; ++j) step(sums[j]);
    }
  };
  double fastest = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const double macs_a_second = double(kSteps) * kSums * n_lanes * n_threads / seconds(n_threads, body);
    if (macs_a_second > fastest) fastest = macs_a_second;
  }
  return fastest;
}

}  // namespace

// Of float32; 0 on processors older than AVX2. The instructions are spelt out: compilers would add copies.
extern "C" double float32_macs(int n_threads) {
#if defined(__AVX512F__)
  const __m512 one = _mm512_set1_ps(1);
  return rate<__m512>(n_threads, 16, [&](__m512& s) { asm volatile("vfmadd231ps %1, %1, %0" : "+v"(s) : "v"(one)); });
#elif defined(__AVX2__) && defined(__FMA__)
  const __m256 one = _mm256_set1_ps(1);
  return rate<__m256>(n_threads, 8, [&](__m256& s) { asm volatile("vfmadd231ps %1, %1, %0" : "+x"(s) : "x"(one)); });
#else
  return 0 * n_threads;
#endif
}

// Of bytes into 32-bit sums; 0 where no one instruction does it.
extern "C" double int8_macs(int n_threads) {
#if defined(__AVX512VNNI__)
  const __m512i one = _mm512_set1_epi8(1);
  return rate<__m512i>(n_threads, 64, [&](__m512i& s) { asm volatile("vpdpbusd %1, %1, %0" : "+v"(s) : "v"(one)); });
#else
  return 0 * n_threads;
#endif
}

// Bytes a second that the threads read of n_bytes in all, again and again: from a cache if they fit one.
extern "C" double bytes_read(int64_t n_bytes, int n_threads) {
  const int64_t n = n_bytes / 8;
  const std::vector<int64_t> data(n, 1);
  const int64_t n_rounds = 1 + (int64_t(1) << 28) / n_bytes;
  double fastest = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const double taken = seconds(n_threads, [&] {
      const int64_t part = n / omp_get_num_threads();
      const int64_t* mine = data.data() + part * omp_get_thread_num();
      int64_t total = 0;
      for (int64_t round = 0; round < n_rounds; ++round) {
        asm volatile("" : "+r"(mine) : : "memory");
#pragma GCC unroll 8
        for (int64_t i = 0; i < part; ++i) total += mine[i];
      }
      sink = total;
    });
    const double bytes_a_second = double(n) * 8 * n_rounds / taken;
    if (bytes_a_second > fastest) fastest = bytes_a_second;
  }
  return fastest;
}
