// What instruction sets without masked loads and stores do instead of them.

namespace dsnn {
namespace {

// Loads and stores of the first n of 16 values, 1 to 16; what is not loaded is 0.
DSNN_INLINE Floats load_some(const float* p, int n) {
  if (n == 16) return load_floats(p);
  float values[16] = {0};
  for (int i = 0; i < n; ++i) values[i] = p[i];
  return load_floats(values);
}
DSNN_INLINE Ints load_some_bytes(const uint8_t* p, int n) {
  if (n == 16) return load_low_bytes(p);
  uint8_t values[16] = {0};
  for (int i = 0; i < n; ++i) values[i] = p[i];
  return load_low_bytes(values);
}
DSNN_INLINE void store_some(float* p, Floats v, int n) {
  if (n == 16) return store_floats(p, v);
  float values[16];
  store_floats(values, v);
  for (int i = 0; i < n; ++i) p[i] = values[i];
}
DSNN_INLINE void store_some_bytes(uint8_t* p, Ints v, int n) {
  if (n == 16) return store_low_bytes(p, v);
  uint8_t values[16];
  store_low_bytes(values, v);
  for (int i = 0; i < n; ++i) p[i] = values[i];
}

}  // namespace
}  // namespace dsnn
