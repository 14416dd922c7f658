// Memory that processes of one host share: a memfd, passed from its owner to the others. Nothing of
// it lies in a file system (no limit of /dev/shm, nothing to sweep when a process dies).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "trireme/comm/sockets.h"

namespace trireme::comm {

// A segment, mapped. Ranks that are threads of one process share one mapping, so that the thread
// sanitizer sees what they do to each other.
class ShmSegment {
 public:
  // A new one, zero, every page there already: using it later cannot fail. Throws run_error that
  // names the limit when the host or the control group does not have the memory.
  static std::shared_ptr<ShmSegment> create(size_t bytes);
  // Another's. Throws run_error when it is not a segment of that size.
  static std::shared_ptr<ShmSegment> open(Fd fd, size_t bytes);
  // `bytes` of each piece (whole pages, as are offsets), end to end in one more mapping of the same
  // memory, which keeps the segments. Throws run_error.
  struct Piece {
    std::shared_ptr<ShmSegment> segment;
    size_t offset;
  };
  static std::shared_ptr<std::byte> join(const std::vector<Piece>& pieces, size_t bytes);
  ~ShmSegment();
  ShmSegment(const ShmSegment&) = delete;
  ShmSegment& operator=(const ShmSegment&) = delete;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const Fd& fd() const { return fd_; }

 private:
  ShmSegment(Fd fd, std::byte* data, size_t bytes);
  static std::shared_ptr<ShmSegment> map(Fd fd, size_t bytes);

  Fd fd_;
  std::byte* data_;
  size_t size_;
};

// Bytes that this host, and the control group of this process, can still give; `limit` says which
// of the two it is.
struct MemoryLeft {
  uint64_t bytes;
  const char* limit;
};
MemoryLeft memory_left();

}  // namespace trireme::comm
