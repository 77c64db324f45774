// Adder layers: pads images, and divides the work.
#include <cstring>

#include "adder_task.hpp"
#include "conv.hpp"
#include "isa.hpp"
#include "parallel.hpp"

namespace dsnn {
namespace {

constexpr int64_t kHeldBytes = 128 * 1024;  // of padded images that one thread holds at a time
constexpr int64_t kSourceFloats = 1 << 15;  // of the source that all blocks of lanes read before the next ones

// Images whose padded source, and the sums of whose pixels, are at hand; and the source of the images that come next.
struct Held {
  const float* source;
  const float* sums;
  int64_t first, n;
  const float* next;
  int64_t n_next;  // floats
};

// Copies row `row` of image `image` with its padding, and sums its pixels, a group each.
void prepare_row(const AdderTask& t, int64_t image, int64_t row, float* padded, float* sums) {
  const bool is_inside = row >= t.top && row < t.top + t.source_h;
  const float* from = t.source + ((image * t.source_h) + (row - t.top)) * t.source_w * t.pixel;
  if (t.is_padded()) {
    const int64_t n_left = t.left * t.pixel, n_inside = is_inside ? t.source_w * t.pixel : 0;
    std::memset(padded, 0, sizeof(float) * static_cast<size_t>(n_left));
    if (is_inside) std::memcpy(padded + n_left, from, sizeof(float) * static_cast<size_t>(n_inside));
    std::memset(padded + n_left + n_inside, 0, sizeof(float) * static_cast<size_t>(t.row - n_left - n_inside));
    from = padded;
  }
  if (t.has_sums()) isa().adder.sums(from, t.row_sums(), t.n_channels, sums);
}

// Rows [first, end) of the padded rows of held images; `padded` and `sums` begin at the first image.
void prepare(const AdderTask& t, int64_t first_image, int64_t first, int64_t end, float* padded, float* sums) {
  for (int64_t i = first; i < end; ++i)
    prepare_row(t, first_image + i / t.padded_rows(), i % t.padded_rows(), padded + (t.is_padded() ? i * t.row : 0),
                sums + (t.has_sums() ? i * t.row_sums() : 0));
}

// Room for n padded images in slot 3 and for their sums in slot 1, as far as they are needed.
float* room_for_padded(const AdderTask& t, int64_t n) {
  return t.is_padded() ? reinterpret_cast<float*>(scratch(3, 4 * n * t.image)) : nullptr;
}
float* room_for_sums(const AdderTask& t, int64_t n) {
  return t.has_sums() ? reinterpret_cast<float*>(scratch(1, 4 * n * t.padded_rows() * t.row_sums())) : nullptr;
}

// What the kernels need to know of some pixels of a sweep; most often the same ones in all held images.
struct Tables {
  int64_t room;
  int64_t* source_at;
  int64_t* target_at;
  int64_t* sums_at;  // among the sums of the source's pixels
  float* sums;
  const AdderSweep* sweep;
  int64_t first, end;
};

// Tables for as many pixels as fit the cache, in slot 2.
Tables room_for_tables(const AdderTask& t) {
  const int64_t wanted = kSourceFloats / t.pixel, n = wanted < 128 ? 128 : wanted > 2048 ? 2048 : wanted;
  int64_t* at = reinterpret_cast<int64_t*>(scratch(2, n * 28));
  return {n, at, at + n, at + 2 * n, reinterpret_cast<float*>(at + 3 * n), nullptr, 0, 0};
}

void fill(const AdderTask& t, const AdderSweep& s, int64_t first, int64_t end, Tables& tables) {
  if (tables.sweep == &s && tables.first == first && tables.end == end) return;
  tables.sweep = &s, tables.first = first, tables.end = end;
  const int64_t row0 = first / s.n_x;
  int64_t x = first % s.n_x, y = row0 % s.n_y, image = row0 / s.n_y;
  for (int64_t i = 0; i < end - first; ++i) {
    const int64_t row = image * t.padded_rows() + y * s.source_step_y, column = x * s.source_step_x;
    tables.source_at[i] = row * t.row + column * t.pixel;
    tables.sums_at[i] = row * t.row_sums() + column * t.groups;
    tables.target_at[i] =
        ((image * t.target_h + s.first_y + y * s.step_y) * t.target_w + s.first_x + x * s.step_x) * t.target_channels;
    if (++x < s.n_x) continue;
    x = 0;
    if (++y < s.n_y) continue;
    y = 0, ++image;
  }
}

// The sum of everything that group `group` of a pixel sees, from the sums of its pixels.
void sum_patches(const AdderSweep& s, const Held& held, int64_t group, int64_t n, const Tables& tables) {
  for (int64_t i = 0; i < n; ++i) {
    const float* sums = held.sums + tables.sums_at[i] + group;
    float sum = 0.0f;
    for (const int64_t at : s.sums_at) sum += sums[at];
    tables.sums[i] = sum;
  }
}

// Pixels [first, end) of a sweep over the held images.
void run_pixels(const AdderTask& t, const AdderSweep& s, const Held& held, int64_t first, int64_t end, Tables& tables) {
  const AdderKernels& kernels = isa().adder;
  const bool is_gradient = t.direction == AdderDirection::kGradInput;
  const auto kernel = t.depthwise ? (is_gradient ? kernels.depthwise_grad_input : kernels.depthwise_forward)
                                  : (is_gradient ? kernels.grad_input : kernels.forward);
  fill(t, s, first, end, tables);
  Adder a{};
  a.source_at = tables.source_at, a.target_at = tables.target_at, a.n_pixels = end - first;
  a.runs = s.runs.data(), a.n_runs = static_cast<int32_t>(s.runs.size());
  a.n_columns = static_cast<int64_t>(s.taps.size()) * t.n_channels, a.n_lanes = t.n_lanes;
  a.pixel_sums = t.has_sums() ? tables.sums : nullptr, a.exponent = t.exponent;
  const int64_t target = held.first * t.target_h * t.target_w * t.target_channels;
  if (&s == &t.sweeps[0] && held.n_next) {
    const int64_t n_pixels = held.n * s.n_y * s.n_x;
    a.next_step = (held.n_next / n_pixels + 15) / 16 * 16;
    a.next = held.next + first * a.next_step;
  }
  for (int64_t group = 0; group < t.groups; ++group) {
    if (t.has_sums()) sum_patches(s, held, group, end - first, tables);
    a.source = held.source + group * t.n_channels;
    a.target = t.target + target + group * t.n_lanes;
    a.x = is_gradient ? t.x + target + group * t.n_lanes : nullptr;
    a.weight = s.weight.data() + group * t.n_blocks() * a.n_columns * 16;
    a.lane_sums = s.lane_sums.data() + group * t.n_blocks() * 16;
    kernel(a);
    a.next = nullptr;
  }
}

// Part `part` of `n_parts` of the pixels of the held images.
void run_held(const AdderTask& t, const Held& held, int part, int n_parts, Tables& tables) {
  for (const AdderSweep& s : t.sweeps) {
    const int64_t n_pixels = held.n * s.n_y * s.n_x, end = n_pixels * (part + 1) / n_parts;
    for (int64_t first = n_pixels * part / n_parts; first < end; first += tables.room)
      run_pixels(t, s, held, first, end - first < tables.room ? end : first + tables.room, tables);
  }
}

// Calls work(held) for images [first, end), a few at a time.
template <typename Work>
void each_few_images(const AdderTask& t, int64_t first, int64_t end, const Work& work) {
  const int64_t n_wanted = kHeldBytes / (4 * t.image), n_held = n_wanted < 1 ? 1 : n_wanted;
  const int64_t image = t.pixel * t.source_h * t.source_w;
  float* padded = room_for_padded(t, n_held);
  float* sums = room_for_sums(t, n_held);
  for (int64_t i = first; i < end; i += n_held) {
    const int64_t n = end - i < n_held ? end - i : n_held, n_left = end - i - n, n_next = n_left < n ? n_left : n;
    prepare(t, i, 0, n * t.padded_rows(), padded, sums);
    work(Held{padded ? padded : t.source + i * image, sums, i, n, t.source + (i + n) * image, n_next * image});
  }
}

// Images [first, end) in this thread.
void run_images(const AdderTask& t, int64_t first, int64_t end) {
  Tables tables = room_for_tables(t);
  each_few_images(t, first, end, [&](const Held& held) { run_held(t, held, 0, 1, tables); });
}

// Few images: the threads share each of them.
bool run_shared(const AdderTask& t, int n_threads) {
  float* padded = room_for_padded(t, t.n_images);
  float* sums = room_for_sums(t, t.n_images);
  const int64_t n_rows = t.n_images * t.padded_rows();
  in_parallel(n_threads, [&](int part) {
    prepare(t, 0, n_rows * part / n_threads, n_rows * (part + 1) / n_threads, padded, sums);
  });
  const Held held{padded ? padded : t.source, sums, 0, t.n_images, nullptr, 0};
  return in_parallel(n_threads, [&](int part) {
    Tables tables = room_for_tables(t);
    run_held(t, held, part, n_threads, tables);
  });
}

bool run_sweeps(const AdderTask& t, int n_threads) {
  if (n_threads == 1) {
    run_images(t, 0, t.n_images);
    return true;
  }
  if (t.n_images < 2 * n_threads) return run_shared(t, n_threads);
  const int64_t n = t.n_images;
  return in_parallel(n_threads,
                     [&](int part) { run_images(t, n * part / n_threads, n * (part + 1) / n_threads); });
}

// Columns [first, end) of the weight gradient, a tap of a block of lanes each, over the tables' pixels of the held images.
void sum_weight_grads(const AdderTask& t, const Held& held, int64_t first, int64_t end, const Tables& tables, float* sums) {
  const AdderSweep& s = t.sweeps[0];
  const int64_t n_taps = static_cast<int64_t>(s.taps.size()), size = int64_t{t.n_channels} * 16;
  for (int64_t column = first; column < end; ++column) {
    const AdderTap& tap = s.taps[column % n_taps];
    const int64_t group = column / n_taps / t.n_blocks(), lane = column / n_taps % t.n_blocks() * 16;
    AdderWeightGrad a{};
    a.x = held.source + (tap.y + t.top) * t.row + (tap.x + t.left) * t.pixel + group * t.n_lanes + lane;
    a.grad = t.grad + held.first * t.target_h * t.target_w * t.target_channels +
             (t.depthwise ? lane : group * t.n_channels);
    a.x_at = tables.source_at, a.grad_at = tables.target_at, a.n_pixels = tables.end - tables.first;
    a.weight = s.weight.data() + column * size, a.sums = sums + column * size;
    a.n_rows = t.n_channels, a.n_lanes = t.n_lanes - lane < 16 ? static_cast<int32_t>(t.n_lanes - lane) : 16;
    a.is_depthwise = t.depthwise, a.exponent = t.exponent;
    isa().adder.grad_weight(a);
  }
}

// Every thread takes columns of its own, over all images, so that the sums do not depend on the number of threads.
bool run_grad_weight(const AdderTask& t, int64_t n_taps, int n_threads) {
  const AdderSweep& s = t.sweeps[0];
  std::vector<float> sums(s.weight.size(), 0.0f);
  const int64_t n_columns = t.groups * t.n_blocks() * static_cast<int64_t>(s.taps.size());
  const bool has_memory = in_parallel(n_threads, [&](int part) {
    const int64_t first = n_columns * part / n_threads, end = n_columns * (part + 1) / n_threads;
    if (first == end) return;
    Tables tables = room_for_tables(t);
    each_few_images(t, 0, t.n_images, [&](const Held& held) {
      const int64_t n_pixels = held.n * s.n_y * s.n_x;
      for (int64_t i = 0; i < n_pixels; i += tables.room) {
        fill(t, s, i, n_pixels - i < tables.room ? n_pixels : i + tables.room, tables);
        sum_weight_grads(t, held, first, end, tables, sums.data());
      }
    });
  });
  each_weight(t, s, n_taps, [&](int64_t to, int64_t from) { t.target[to] = sums[from]; });
  return has_memory;
}

int32_t run(const DsnnAdder& d, AdderDirection direction, int n_threads) {
  try {
    const AdderTask t = adder_task(d, direction);
    const int64_t n_taps = int64_t{d.kernel_h} * d.kernel_w;
    const int64_t n_terms = int64_t{d.n_images} * d.out_h * d.out_w * d.out_channels * (d.in_channels / d.groups) * n_taps;
    const int threads = n_terms < kParallelWork || n_threads < 1 ? 1 : n_threads;
    const bool has_memory =
        direction == AdderDirection::kGradWeight ? run_grad_weight(t, n_taps, threads) : run_sweeps(t, threads);
    return has_memory ? 0 : kNoMemory;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

}  // namespace
}  // namespace dsnn

int32_t dsnn_adder_forward(const DsnnAdder* adder, int32_t n_threads) {
  return dsnn::run(*adder, dsnn::AdderDirection::kForward, n_threads);
}

int32_t dsnn_adder_grad_input(const DsnnAdder* adder, int32_t n_threads) {
  return dsnn::run(*adder, dsnn::AdderDirection::kGradInput, n_threads);
}

int32_t dsnn_adder_grad_weight(const DsnnAdder* adder, int32_t n_threads) {
  return dsnn::run(*adder, dsnn::AdderDirection::kGradWeight, n_threads);
}
