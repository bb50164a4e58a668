#include <stdlib.h>

#include <new>

#include "common.h"

namespace nonlin {

struct Memory::Chunk {
  Chunk* previous;
  char* next;
};

Memory::~Memory() {
  while (last_) {
    Chunk* previous = last_->previous;
    free(last_);
    last_ = previous;
  }
}

void* Memory::take_bytes(size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  constexpr size_t smallest = 0;  // one piece each, so that the sanitizer sees where it ends
#else
  constexpr size_t smallest = size_t(1) << 16;
#endif
  constexpr size_t unit = size_t(ALIGNMENT);
  size = (size + unit - 1) / unit * unit;
  if (!last_ || size > left_) {
    const size_t room = size > smallest ? size : smallest;
    void* raw = aligned_alloc(unit, unit + room);
    if (!raw) throw std::bad_alloc();
    char* start = static_cast<char*>(raw) + unit;
    last_ = new (raw) Chunk{last_, start};
    left_ = room;
  }
  void* result = last_->next;
  last_->next += size;
  left_ -= size;
  return result;
}

}  // namespace nonlin
