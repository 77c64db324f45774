// A whole network in one call: steps over activations that lie in one piece of memory, a few images at a time.
#include "plan.hpp"

#include <omp.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include "conv.hpp"
#include "isa.hpp"
#include "shift_channels.hpp"
#include "steps.hpp"

namespace dsnn {
namespace {

constexpr int64_t kChunkBytes = 512 * 1024;   // of activations in use at the same time: half a core's second-level cache
constexpr int64_t kSlackBytes = 128;          // behind the last activation, so that whole vectors can be read there

// Images [first, first + n) of a call, and where their activations lie.
struct Chunk {
  const Plan* plan;
  const float* x;
  float* y;
  uint8_t* memory;
  int32_t n_images;
};

View view_of(const Chunk& chunk, const DsnnSlice& slice) {
  const DsnnActivation& a = chunk.plan->activations[static_cast<size_t>(slice.activation)];
  View v{};
  v.pixel = a.pixel;
  v.row = v.pixel * (a.left + a.width + a.right);
  v.image = a.image;
  v.data = chunk.memory + a.offset * chunk.n_images + a.top * v.row + a.left * v.pixel + slice.first_channel;
  v.height = a.height, v.width = a.width, v.channels = slice.n_channels, v.zero = a.zero;
  return v;
}

// Bounds of a part of [0, n).
void share(int64_t n, int part, int n_parts, int64_t* first, int64_t* end) {
  *first = n * part / n_parts;
  *end = n * (part + 1) / n_parts;
}

// Fills what no step writes: the pixels around an image with the zero point, the channels up to a multiple of four with 0.
void prepare(const Chunk& chunk, int32_t index, bool has_padding_channels, int part, int n_parts) {
  const DsnnActivation& a = chunk.plan->activations[static_cast<size_t>(index)];
  const int64_t width = a.left + a.width + a.right, height = a.top + a.height + a.bottom, row_bytes = width * a.pixel;
  const bool has_halo = width > a.width || height > a.height;
  const bool clears_channels = has_padding_channels && a.pixel > a.channels;
  if (!has_halo && !clears_channels) return;
  int64_t first, end;
  share(chunk.n_images * height, part, n_parts, &first, &end);
  for (int64_t i = first; i < end; ++i) {
    const int64_t y = i % height - a.top;
    uint8_t* row = chunk.memory + a.offset * chunk.n_images + i / height * a.image + i % height * row_bytes;
    const bool inside = y >= 0 && y < a.height;
    if (inside) {
      std::memset(row, a.zero, static_cast<size_t>(a.left * a.pixel));
      std::memset(row + (a.left + a.width) * a.pixel, a.zero, static_cast<size_t>(a.right * a.pixel));
    } else {
      std::memset(row, a.zero, static_cast<size_t>(row_bytes));
    }
    if (a.pixel == a.channels || (inside && !clears_channels && a.left + a.right == 0)) continue;
    for (int64_t x = 0; x < width; ++x) {
      const bool is_written = inside && x >= a.left && x < a.left + a.width;
      if (clears_channels || !is_written) std::memset(row + x * a.pixel + a.channels, 0, static_cast<size_t>(a.pixel - a.channels));
    }
  }
}

Conv conv_of(const Chunk& chunk, const DsnnStep& s) {
  const View in = view_of(chunk, s.source);
  Conv c{};
  c.input = in.data - s.pad_top * in.row - s.pad_left * in.pixel;
  c.in_image = in.image, c.in_row = in.row, c.in_pixel = in.pixel;
  c.n_images = chunk.n_images;
  c.kernel_h = s.kernel_h, c.kernel_w = s.kernel_w, c.stride_h = s.stride_h, c.stride_w = s.stride_w;
  c.dilation_h = s.dilation_h, c.dilation_w = s.dilation_w;
  c.depthwise = s.depthwise != 0;
  c.groups = c.depthwise ? 1 : s.groups;
  c.in_channels = c.depthwise ? in.channels : (in.channels / s.groups + 3) / 4 * 4;
  c.weight = {s.weight.codes, s.weight.bits, s.weight.has_zero, s.weight.n_quads, s.weight.n_planes,
              static_cast<Operation>(s.weight.operation), s.output_transform};
  c.epilogue.scale = s.scale, c.epilogue.bias = s.bias, c.epilogue.correction = s.correction;
  c.epilogue.low = s.low, c.epilogue.high = s.high;
  if (s.target.activation < 0) {
    c.epilogue.to_float = true;
    c.output = chunk.y;
    c.out_image = c.out_row = c.out_pixel = chunk.plan->n_outputs;
    c.out_h = c.out_w = 1;
    c.out_channels = static_cast<int32_t>(chunk.plan->n_outputs) / c.groups;
    return c;
  }
  const View out = view_of(chunk, s.target);
  c.output = out.data;
  c.out_image = out.image, c.out_row = out.row, c.out_pixel = out.pixel;
  c.out_h = out.height, c.out_w = out.width, c.out_channels = out.channels / c.groups;
  c.epilogue.zero = out.zero;
  if (s.residual.activation >= 0) {
    const View r = view_of(chunk, s.residual);
    c.residual = r.data;
    c.res_image = r.image, c.res_row = r.row, c.res_pixel = r.pixel;
    c.epilogue.residual_scale = s.residual_scale, c.epilogue.residual_zero = r.zero;
  }
  return c;
}

void copy(const Chunk& chunk, const DsnnStep& s, int part, int n_parts) {
  const View in = view_of(chunk, s.source), out = view_of(chunk, s.target);
  const int32_t *from = s.source_first, *to = s.target_first, *size = s.size;
  const size_t before = static_cast<size_t>(to[0]), middle = static_cast<size_t>(size[0]);
  const size_t n = static_cast<size_t>(out.channels);
  int64_t first, end;
  share(static_cast<int64_t>(chunk.n_images) * out.height, part, n_parts, &first, &end);
  for (int64_t i = first; i < end; ++i) {
    const int64_t image = i / out.height, y = i % out.height;
    const bool has_row = y >= to[1] && y < to[1] + size[1];
    const uint8_t* row = in.data + image * in.image + (from[1] + (y - to[1]) * s.stride_h) * in.row + from[0];
    for (int64_t x = 0; x < out.width; ++x) {
      uint8_t* pixel = out.data + image * out.image + y * out.row + x * out.pixel;
      if (!has_row || x < to[2] || x >= to[2] + size[2]) {
        std::memset(pixel, out.zero, n);
        continue;
      }
      if (before) std::memset(pixel, out.zero, before);
      std::memcpy(pixel + before, row + (from[2] + (x - to[2]) * s.stride_w) * in.pixel, middle);
      if (before + middle < n) std::memset(pixel + before + middle, out.zero, n - before - middle);
    }
  }
}

// One part of one step; false where the input has NaN or infinity.
bool run_step(const Chunk& chunk, const DsnnStep& s, int part, int n_parts) {
  const Isa& kernels = isa();
  const Limits limits = {s.low, s.high};
  if (s.prepares >= 0) {
    // Pixels of four bytes are quantised as a whole.
    const bool clears_channels =
        s.kind != DSNN_QUANTISE || s.is_flat || chunk.plan->activations[s.target.activation].pixel > 4;
    prepare(chunk, s.prepares, clears_channels, part, n_parts);
  }
  switch (s.kind) {
    case DSNN_QUANTISE:
      return kernels.steps.quantise({chunk.x, view_of(chunk, s.target), chunk.n_images, s.is_flat != 0, s.factor, s.offset, limits},
                                    part, n_parts);
    case DSNN_CONVOLVE:
      kernels.conv(conv_of(chunk, s), part, n_parts);
      break;
    case DSNN_POINTWISE: {
      const View residual = s.residual.activation >= 0 ? view_of(chunk, s.residual) : View{};
      kernels.steps.pointwise({view_of(chunk, s.source), view_of(chunk, s.target), residual, chunk.n_images, s.scale, s.bias,
                         s.residual_scale, limits},
                        part, n_parts);
      break;
    }
    case DSNN_POOL:
      kernels.steps.pool({view_of(chunk, s.source), view_of(chunk, s.target), chunk.n_images, s.rows, s.columns, s.scale, s.offset, limits},
                   part, n_parts);
      break;
    case DSNN_SHIFT_CHANNELS:
      shift_channels({view_of(chunk, s.source), view_of(chunk, s.target), chunk.n_images, s.moves, s.n_moves}, part, n_parts);
      break;
    case DSNN_COPY:
      copy(chunk, s, part, n_parts);
      break;
    default:
      kernels.steps.dequantise({view_of(chunk, s.source), chunk.n_images, chunk.y, s.factor}, part, n_parts);
  }
  return true;
}

// Memory of one chunk, lent to one thread or team at a time.
class Lent {
 public:
  Lent(Plan& plan, int64_t bytes) : plan_(plan), data_(plan.take(bytes)) {}
  ~Lent() { plan_.give(data_); }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;
  uint8_t* data() const { return data_.data; }

 private:
  Plan& plan_;
  Memory data_;
};

struct Call {
  Plan* plan;
  const float* x;
  float* y;
  int64_t n_images, n_chunk;  // images in all and of a chunk
  int64_t n_chunks() const { return (n_images + n_chunk - 1) / n_chunk; }
  Chunk chunk(int64_t index, uint8_t* memory) const {
    const int64_t first = index * n_chunk, left = n_images - first;
    return {plan, x + first * plan->n_inputs, y + first * plan->n_outputs, memory,
            static_cast<int32_t>(left < n_chunk ? left : n_chunk)};
  }
};

// No exception may leave a parallel region, nor keep a thread from a barrier.
int32_t status_of(const Chunk& chunk, const DsnnStep& step, int part, int n_parts) {
  try {
    return run_step(chunk, step, part, n_parts) ? 0 : kNotFinite;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

int32_t run_chunk(const Chunk& chunk) {
  int32_t status = 0;
  for (const DsnnStep& step : chunk.plan->steps) status |= status_of(chunk, step, 0, 1);
  return status;
}

// Threads take chunks, each with memory of its own.
void run_apart(const Call& call, int n_threads, std::atomic<int32_t>& status) {
  std::atomic<int64_t> next{0};
#pragma omp parallel num_threads(n_threads)
  try {
    Lent memory(*call.plan, call.n_chunk * call.plan->image_bytes + kSlackBytes);
    for (int64_t i = next++; i < call.n_chunks(); i = next++) status |= run_chunk(call.chunk(i, memory.data()));
  } catch (const std::bad_alloc&) {
    status |= kNoMemory;
  }
}

// All threads share every step.
void run_together(const Call& call, int n_threads, std::atomic<int32_t>& status) {
  Lent memory(*call.plan, call.n_chunk * call.plan->image_bytes + kSlackBytes);
#pragma omp parallel num_threads(n_threads)
  for (int64_t i = 0; i < call.n_chunks(); ++i) {
    const Chunk chunk = call.chunk(i, memory.data());
    for (const DsnnStep& step : call.plan->steps) {
      status |= status_of(chunk, step, omp_get_thread_num(), omp_get_num_threads());
#pragma omp barrier
    }
  }
}

void run_alone(const Call& call, std::atomic<int32_t>& status) {
  Lent memory(*call.plan, call.n_chunk * call.plan->image_bytes + kSlackBytes);
  for (int64_t i = 0; i < call.n_chunks(); ++i) status |= run_chunk(call.chunk(i, memory.data()));
}

}  // namespace

Memory Plan::take(int64_t bytes) {
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    for (size_t i = 0; i < free_.size(); ++i) {
      if (free_[i].bytes < bytes) continue;
      const Memory found = free_[i];
      free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(i));
      return found;
    }
  }
  const int64_t rounded = (bytes + 4095) / 4096 * 4096;
  uint8_t* data = static_cast<uint8_t*>(std::aligned_alloc(4096, static_cast<size_t>(rounded)));
  if (!data) throw std::bad_alloc();
  // A byte that a step reads and none has written must not be zero by chance.
  std::memset(data, 0xab, static_cast<size_t>(rounded));
  return {data, rounded};
}

void Plan::give(Memory memory) {
  const std::lock_guard<std::mutex> guard(mutex_);
  // What was too small for this call will be too small for the next one.
  if (!free_.empty() && free_.back().bytes < memory.bytes) {
    std::free(free_.back().data);
    free_.pop_back();
  }
  try {
    free_.push_back(memory);
  } catch (const std::bad_alloc&) {
    std::free(memory.data);
  }
}

Plan::~Plan() {
  for (const Memory& memory : free_) std::free(memory.data);
}

}  // namespace dsnn

void* dsnn_plan_new(const DsnnActivation* activations, int32_t n_activations, const DsnnStep* steps, int32_t n_steps,
                    const DsnnPlanSize* size) {
  auto* plan = new (std::nothrow) dsnn::Plan;
  if (!plan) return nullptr;
  try {
    plan->activations.assign(activations, activations + n_activations);
    plan->steps.assign(steps, steps + n_steps);
  } catch (const std::bad_alloc&) {
    delete plan;
    return nullptr;
  }
  plan->n_inputs = size->n_inputs, plan->n_outputs = size->n_outputs;
  plan->image_bytes = size->image_bytes, plan->image_products = size->image_products;
  return plan;
}

void dsnn_plan_free(void* plan) { delete static_cast<dsnn::Plan*>(plan); }

int32_t dsnn_plan_run(void* handle, const float* x, float* y, int64_t n_images, int32_t n_threads) {
  using namespace dsnn;
  auto* plan = static_cast<Plan*>(handle);
  int64_t n_chunk = kChunkBytes / plan->image_bytes;
  if (n_chunk < 1) n_chunk = 1;
  if (n_threads > 1 && n_images >= n_threads && n_chunk > (n_images + n_threads - 1) / n_threads)
    n_chunk = (n_images + n_threads - 1) / n_threads;
  if (n_chunk > n_images) n_chunk = n_images;
  const Call call = {plan, x, y, n_images, n_chunk};
  std::atomic<int32_t> status{0};
  try {
    if (n_threads <= 1 || n_images * plan->image_products < kParallelWork)
      run_alone(call, status);
    else if (call.n_chunks() >= n_threads)
      run_apart(call, n_threads, status);
    else
      run_together(call, n_threads, status);
  } catch (const std::bad_alloc&) {
    status |= kNoMemory;
  }
  return status.load();
}
