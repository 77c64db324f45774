// The spatial shift of a row of pixels, run by run.

namespace dsnn {
namespace {

// kFloats or, where that is 0, n_floats of each pixel.
template <int kFloats>
void copy_run(const PixelMove& move, const ChannelRun& run) {
  const int64_t n = kFloats ? kFloats : run.n;
  const float* x = move.x + run.first + run.offset;
  float* y = move.y + run.first;
  for (int64_t pixel = 0; pixel < move.n_pixels; ++pixel, x += move.n_channels, y += move.n_channels)
    for (int64_t i = 0; i < n; ++i) y[i] = x[i];
}

void clear_run(const PixelMove& move, int64_t first, int64_t end) {
  float* y = move.y;
  for (int64_t pixel = 0; pixel < move.n_pixels; ++pixel, y += move.n_channels)
    for (int64_t i = first; i < end; ++i) y[i] = 0.0f;
}

void move_pixels(const PixelMove& move) {
  int64_t end = 0;
  for (int i = 0; i < move.n_runs; ++i) {
    const ChannelRun& run = move.runs[i];
    clear_run(move, end, run.first);
    end = run.first + run.n;
    if (run.n == 1) {
      copy_run<1>(move, run);
    } else if (run.n == 3) {
      copy_run<3>(move, run);
    } else if (run.n == 7) {
      copy_run<7>(move, run);
    } else {
      copy_run<0>(move, run);
    }
  }
  clear_run(move, end, move.n_channels);
}

}  // namespace
}  // namespace dsnn
