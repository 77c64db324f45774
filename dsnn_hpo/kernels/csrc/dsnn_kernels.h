// The C ABI of the compiled kernels. Plain pointers and sizes; the caller checks shapes, dtypes and contiguity.
#pragma once
#include <stdint.h>

#define DSNN_API extern "C" __attribute__((visibility("default")))

// Raised whenever a signature below changes, so that a stale library is told apart from ours.
#define DSNN_ABI_VERSION 1

DSNN_API int32_t dsnn_abi_version(void);
// The instruction set in use: "portable", "avx2", "avx512" or "avx512vnni".
DSNN_API const char* dsnn_isa(void);
// Chooses an instruction set by name; returns 0, or 1 where this processor lacks it.
DSNN_API int32_t dsnn_set_isa(const char* name);
