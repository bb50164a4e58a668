#include <stdlib.h>

#include <new>

#include "common.h"

namespace nonlin {

struct Memory::Chunk {
  Chunk* previous;
  char* next;
  size_t room;
};

namespace {

constexpr size_t HEADER = size_t(ALIGNMENT);  // before a chunk's bytes

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t SMALLEST = 0;  // one piece each, so that the sanitizer sees where it ends
constexpr int KEPT = 0;
#else
constexpr size_t SMALLEST = size_t(1) << 16;
constexpr int KEPT = 4;
#endif
constexpr size_t LARGEST_KEPT = size_t(1) << 23;

// Chunks that were given back, kept for the thread's next call: memory fresh from the system costs a page fault for
// every 4 KB, often more than what is computed in it.
struct Spare {
  void* chunks[KEPT + 1] = {};
  size_t rooms[KEPT + 1] = {};
  ~Spare() {
    for (void* chunk : chunks) free(chunk);
  }

  // The smallest that is large enough, or null.
  void* take(size_t room, size_t* found) {
    int best = -1;
    for (int k = 0; k < KEPT; ++k)
      if (chunks[k] && rooms[k] >= room && (best < 0 || rooms[k] < rooms[best])) best = k;
    if (best < 0) return nullptr;
    void* chunk = chunks[best];
    *found = rooms[best];
    chunks[best] = nullptr, rooms[best] = 0;
    return chunk;
  }

  // The largest ones stay.
  void give(void* chunk, size_t room) {
    int least = 0;
    for (int k = 1; k < KEPT; ++k)
      if (rooms[k] < rooms[least]) least = k;
    if (KEPT == 0 || room > LARGEST_KEPT || room <= rooms[least]) return free(chunk);
    free(chunks[least]);
    chunks[least] = chunk, rooms[least] = room;
  }
};

thread_local Spare spare;

}  // namespace

Memory::~Memory() {
  while (last_) {
    Chunk* previous = last_->previous;
    spare.give(last_, last_->room);
    last_ = previous;
  }
}

void* Memory::take_bytes(size_t size) {
  constexpr size_t unit = size_t(ALIGNMENT);
  size = (size + unit - 1) / unit * unit;
  if (!last_ || size > left_) {
    size_t room = size > SMALLEST ? size : SMALLEST;
    void* raw = spare.take(room, &room);
    if (!raw) raw = aligned_alloc(unit, HEADER + room);
    if (!raw) throw std::bad_alloc();
    last_ = new (raw) Chunk{last_, static_cast<char*>(raw) + HEADER, room};
    left_ = room;
  }
  void* result = last_->next;
  last_->next += size;
  left_ -= size;
  return result;
}

}  // namespace nonlin
