// The small steps of a plan: everything but the convolutions. See plan.py for what they compute.
#pragma once
#include <cstdint>

namespace dsnn {

// Activations of several images, NHWC; strides in bytes.
struct View {
  uint8_t* data;  // the first image's first pixel
  int64_t image, row, pixel;
  int32_t height, width, channels;
  int32_t zero;
};

// y is limited to [low, high] before it is rounded; the target's zero point is added after.
struct Limits {
  float low, high;
};

struct QuantiseStep {
  const float* x;  // NCHW, contiguous
  View target;
  int32_t n_images;
  bool is_flat;  // the target is a vector in the order of x
  float factor, offset;
  Limits limits;
};

struct PointwiseStep {
  View source, target, residual;  // residual.data may be null
  int32_t n_images;
  const float* scale;  // a channel
  const float* bias;   // a channel
  float residual_scale;
  Limits limits;
};

struct PoolStep {
  View source, target;
  int32_t n_images;
  const int32_t* rows;     // (first, end) of each output row's window
  const int32_t* columns;  // of each output column's
  const float* scale;      // an output pixel; null: the maximum instead of the mean
  float offset;
  Limits limits;
};

struct DequantiseStep {
  View source;
  int32_t n_images;
  float* y;  // NCHW, contiguous
  float scale;
};

// The functions of one instruction set; part `part` of `n_parts` of a step, which may run at the same time.
struct Steps {
  bool (*quantise)(const QuantiseStep& step, int part, int n_parts);  // false where the input has NaN or infinity
  void (*pointwise)(const PointwiseStep& step, int part, int n_parts);
  void (*pool)(const PoolStep& step, int part, int n_parts);
  void (*dequantise)(const DequantiseStep& step, int part, int n_parts);
};

}  // namespace dsnn
