// Memory that a thread keeps from call to call.
#include <cstdlib>
#include <new>

#include "conv.hpp"

namespace dsnn {
namespace {

struct Buffer {
  uint8_t* data = nullptr;
  int64_t size = 0;
  ~Buffer() { std::free(data); }
};

}  // namespace

uint8_t* scratch(int slot, int64_t bytes) {
  thread_local Buffer buffers[5];
  Buffer& buffer = buffers[slot];
  if (buffer.size < bytes) {
    std::free(buffer.data);
    buffer.size = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    buffer.data = static_cast<uint8_t*>(std::aligned_alloc(64, static_cast<size_t>(buffer.size)));
    if (!buffer.data) {
      buffer.size = 0;
      throw std::bad_alloc();
    }
  }
  return buffer.data;
}

}  // namespace dsnn
