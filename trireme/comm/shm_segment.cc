#include "trireme/comm/shm_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

// Segments that are mapped in this process, by inode.
struct Mapped {
  std::mutex mutex;
  std::map<std::pair<dev_t, ino_t>, std::weak_ptr<ShmSegment>> by_file;
};
Mapped& mapped() {
  static Mapped instance;
  return instance;
}

double mib(uint64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

std::optional<uint64_t> read_number(const std::string& path) {
  std::ifstream file(path);
  uint64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;  // absent, or "max"
}

uint64_t available_on_host() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  uint64_t kib = 0;
  while (file >> key) {
    if (key == "MemAvailable:" && file >> kib) return kib * 1024;
    std::getline(file, key);
  }
  return std::numeric_limits<uint64_t>::max();
}

uint64_t left_in_group(const std::string& limit_path, const std::string& usage_path) {
  const auto limit = read_number(limit_path), usage = read_number(usage_path);
  if (!limit || !usage) return std::numeric_limits<uint64_t>::max();
  return *limit > *usage ? *limit - *usage : 0;
}

}  // namespace

MemoryLeft memory_left() {
  MemoryLeft left{available_on_host(), "the host's free memory"};
  const std::string v2 = "/sys/fs/cgroup/memory.", v1 = "/sys/fs/cgroup/memory/memory.";
  const uint64_t group = std::min(left_in_group(v2 + "max", v2 + "current"),
                                  left_in_group(v1 + "limit_in_bytes", v1 + "usage_in_bytes"));
  if (group < left.bytes) left = {group, "the memory limit of the control group"};
  return left;
}

ShmSegment::ShmSegment(Fd fd, std::byte* data, size_t bytes)
    : fd_(std::move(fd)), data_(data), size_(bytes) {}

ShmSegment::~ShmSegment() {
  munmap(data_, size_);
}

std::shared_ptr<ShmSegment> ShmSegment::map(Fd fd, size_t bytes) {
  struct stat status {};
  if (fstat(fd.get(), &status) != 0 || static_cast<size_t>(status.st_size) != bytes) {
    throw run_error("a peer's shared memory has ", status.st_size, " bytes where it said ", bytes);
  }
  const std::lock_guard lock(mapped().mutex);
  std::weak_ptr<ShmSegment>& known = mapped().by_file[{status.st_dev, status.st_ino}];
  if (auto segment = known.lock()) return segment;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) {
    throw run_error("cannot map ", mib(bytes), " MiB of shared memory: ", std::strerror(errno));
  }
  // Page tables are filled now, not in the first operation. Old kernels cannot; then they are then.
  madvise(data, bytes, MADV_HUGEPAGE);
#ifdef MADV_POPULATE_WRITE
  madvise(data, bytes, MADV_POPULATE_WRITE);
#endif
  std::shared_ptr<ShmSegment> segment(
      new ShmSegment(std::move(fd), static_cast<std::byte*>(data), bytes));
  known = segment;
  return segment;
}

std::shared_ptr<ShmSegment> ShmSegment::create(size_t bytes) {
  const MemoryLeft left = memory_left();
  if (bytes > left.bytes) {
    throw run_error("no memory for ", mib(bytes), " MiB of shared buffers: ", left.limit,
                    " leaves ", mib(left.bytes),
                    " MiB; use fewer ranks on this host, a smaller model, or a higher ZeRO stage");
  }
  Fd fd(memfd_create("trireme", MFD_CLOEXEC));
  if (!fd) throw run_error("cannot make shared memory (memfd_create): ", std::strerror(errno));
  // fallocate() takes the pages now: a limit that we do not know of is an error here, not a signal
  // in the middle of a step.
  int failed = ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 ? errno : 0;
  while (failed == 0 && fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) failed = errno;
  }
  if (failed != 0) {
    throw run_error("the system does not give ", mib(bytes),
                    " MiB of shared memory: ", std::strerror(failed));
  }
  return map(std::move(fd), bytes);
}

std::shared_ptr<std::byte> ShmSegment::join(const std::vector<Piece>& pieces, size_t bytes) {
  const size_t all = pieces.size() * bytes;
  // One stretch of addresses, which the pieces then take the place of.
  void* begin = mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  const auto check = [&](const void* mapped) {
    if (mapped != MAP_FAILED) return;
    throw run_error("cannot map ", mib(all),
                    " MiB of shared memory in one piece: ", std::strerror(errno));
  };
  check(begin);
  std::shared_ptr<std::byte> joined(static_cast<std::byte*>(begin),
                                    [pieces, all](std::byte* data) { munmap(data, all); });
  for (size_t i = 0; i < pieces.size(); ++i) {
    check(mmap(joined.get() + i * bytes, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
               pieces[i].segment->fd().get(), static_cast<off_t>(pieces[i].offset)));
  }
#ifdef MADV_POPULATE_WRITE
  madvise(begin, all, MADV_POPULATE_WRITE);
#endif
  return joined;
}

std::shared_ptr<ShmSegment> ShmSegment::open(Fd fd, size_t bytes) {
  return map(std::move(fd), bytes);
}

}  // namespace trireme::comm
