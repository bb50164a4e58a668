#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "common.h"

namespace nonlin {

void run_parallel(int threads, int64_t items, void (*work)(void*, int64_t), void* context) {
  if (threads <= 1 || items <= 1) {
    for (int64_t item = 0; item < items; ++item) work(context, item);
    return;
  }
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_lock;
  const auto loop = [&] {
    try {
      for (int64_t item; (item = next.fetch_add(1)) < items;) work(context, item);
    } catch (...) {
      const std::lock_guard<std::mutex> hold(error_lock);
      error = std::current_exception();
      next = items;
    }
  };
  std::vector<std::thread> others;
  const int64_t wanted = threads < items ? threads : items;
  try {
    for (int64_t k = 1; k < wanted; ++k) others.emplace_back(loop);
  } catch (const std::system_error&) {
    // No more threads to be had: those that started, and this one, do the work.
  }
  loop();
  for (std::thread& thread : others) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace nonlin
