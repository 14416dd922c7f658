#include "trireme/base/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <utility>

#include "trireme/base/error.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

std::string reason(int error) {
  return std::generic_category().message(error);
}

struct FaultHook {
  std::mutex mutex;
  FileFault fault;
  std::atomic<bool> set{false};
};

FaultHook& fault_hook() {
  static FaultHook hook;
  return hook;
}

// The errno that a test wants here, or 0.
int injected(FileStep step, const std::string& path) {
  FaultHook& hook = fault_hook();
  if (!hook.set.load(std::memory_order_acquire)) return 0;
  const std::scoped_lock lock(hook.mutex);
  return hook.fault ? hook.fault(step, path) : 0;
}

// Runs a system call again while a signal interrupts it; -1 with errno set when it, or the
// fail-point, fails.
template <class Call>
auto attempt(FileStep step, const std::string& path, Call call) -> decltype(call()) {
  if (const int error = injected(step, path)) {
    errno = error;
    return -1;
  }
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result;
}

// Descriptor of a file opened for reading, closed at the end of the scope, with its size.
class ReadFd {
 public:
  explicit ReadFd(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw input_error(path, ": cannot be read: ", reason(errno));
    struct stat info {};
    if (::fstat(fd_, &info) != 0) {
      const int error = errno;
      ::close(fd_);
      throw input_error(path, ": cannot be read: ", reason(error));
    }
    if (S_ISDIR(info.st_mode)) {
      ::close(fd_);
      throw input_error(path, ": is a folder, a file is wanted");
    }
    size_ = static_cast<std::size_t>(info.st_size);
  }
  ~ReadFd() { ::close(fd_); }
  ReadFd(const ReadFd&) = delete;
  ReadFd& operator=(const ReadFd&) = delete;
  int fd() const { return fd_; }
  std::size_t size() const { return size_; }

 private:
  int fd_;
  std::size_t size_ = 0;
};

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

int open_for_writing(const std::string& path, int flags) {
  const int fd = attempt(FileStep::kOpen, path,
                         [&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0666); });
  if (fd < 0) throw run_error(path, ": cannot be written: ", reason(errno));
  return fd;
}

}  // namespace

void set_file_fault(FileFault fault) {
  FaultHook& hook = fault_hook();
  const std::scoped_lock lock(hook.mutex);
  hook.fault = std::move(fault);
  hook.set.store(static_cast<bool>(hook.fault), std::memory_order_release);
}

std::string read_file(const std::string& path) {
  const ReadFd file(path);
  std::string out;
  // One byte more than the size tells a file that ends there from one that grows or has no size
  // (pipes, /proc).
  std::size_t room = file.size() + 1;
  for (std::size_t at = 0;;) {
    out.resize(at + room);
    const ssize_t got = ::read(file.fd(), out.data() + at, room);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw run_error(path, ": reading failed: ", reason(errno));
    at += static_cast<std::size_t>(got);
    room = std::max(out.size() - at, std::size_t{1} << 16);
    if (got == 0) {
      out.resize(at);
      return out;
    }
  }
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const ReadFd file(path);
  size_ = file.size();
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (data == MAP_FAILED) throw run_error(path, ": cannot be mapped: ", reason(errno));
  data_ = data;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

BufferedFd::BufferedFd(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

BufferedFd::~BufferedFd() {
  if (fd_ >= 0) ::close(fd_);
}

void BufferedFd::write_out(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t done =
        attempt(FileStep::kWrite, path_, [&] { return ::write(fd_, bytes.data(), bytes.size()); });
    if (done < 0) throw run_error(path_, ": writing failed: ", reason(errno));
    bytes.remove_prefix(static_cast<std::size_t>(done));
  }
}

void BufferedFd::write(std::string_view bytes) {
  if (buffer_.size() + bytes.size() >= kBufferBytes) {
    flush();
    if (bytes.size() >= kBufferBytes) {
      write_out(bytes);
      written_bytes_ += bytes.size();
      return;
    }
  }
  buffer_.append(bytes);
  written_bytes_ += bytes.size();
}

void BufferedFd::flush() {
  // Taken out first: after a failed write the rest is dropped, not written again by a later flush.
  const std::string pending = std::exchange(buffer_, {});
  write_out(pending);
}

void BufferedFd::sync() {
  flush();
  if (attempt(FileStep::kSync, path_, [&] { return ::fsync(fd_); }) != 0) {
    throw run_error(path_, ": fsync failed: ", reason(errno));
  }
}

void BufferedFd::close() {
  flush();
  if (::close(std::exchange(fd_, -1)) != 0)
    throw run_error(path_, ": closing failed: ", reason(errno));
}

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) throw input_error(path, ": is a folder, a file is wanted");
    if (!S_ISREG(info.st_mode)) {
      out_ = std::make_unique<BufferedFd>(open_for_writing(path, 0), path);
      return;
    }
    std::error_code error;
    const fs::path real = fs::canonical(path, error);
    if (!error) path_ = real.string();
  }
  static std::atomic<unsigned> counter{0};
  const std::string name = fs::path(path_).filename().string();
  if (name.empty()) throw input_error("'", path, "': is not the name of a file");
  const fs::path folder = parent_of(path_);
  temporary_ =
      (folder / cat(".", name, ".", ::getpid(), "-", counter.fetch_add(1), ".tmp")).string();
  const int fd = attempt(FileStep::kOpen, temporary_, [&] {
    return ::open(temporary_.c_str(), O_WRONLY | O_CLOEXEC | O_CREAT | O_EXCL, 0666);
  });
  if (fd < 0) {
    const int error = errno;
    temporary_.clear();
    throw run_error(path_, ": cannot be written: ", reason(error));
  }
  out_ = std::make_unique<BufferedFd>(fd, path_);
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  out_->write(bytes);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  out_->write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void AtomicFile::commit() {
  if (temporary_.empty()) {
    out_->close();
    return;
  }
  out_->sync();
  out_->close();
  const auto rename = [&] { return std::rename(temporary_.c_str(), path_.c_str()); };
  if (attempt(FileStep::kRename, path_, rename) != 0) {
    throw run_error(path_, ": renaming failed: ", reason(errno));
  }
  temporary_.clear();
  sync_dir(parent_of(path_));
}

void write_file_atomic(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

AppendFile::AppendFile(const std::string& path)
    : out_(open_for_writing(path, O_CREAT | O_APPEND), path) {}

AppendFile::~AppendFile() {
  try {
    out_.flush();
  } catch (const Error&) {
    // A destructor cannot report; whoever needs to know calls flush().
  }
}

bool file_exists(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  return fs::exists(status) && !fs::is_directory(status);
}

bool dir_exists(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

std::uint64_t file_size_bytes(const std::string& path) {
  return ReadFd(path).size();
}

void ensure_dir(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw run_error(path, ": cannot make the folder: ", error.message());
  if (!dir_exists(path)) throw run_error(path, ": cannot make the folder: a file has that name");
}

std::vector<std::string> list_dir(const std::string& path) {
  std::error_code error;
  fs::directory_iterator it(path, error);
  if (error) throw input_error(path, ": cannot be listed: ", error.message());
  std::vector<std::string> names;
  for (; it != fs::directory_iterator(); it.increment(error)) {
    if (error) break;
    names.push_back(it->path().filename().string());
  }
  if (error) throw run_error(path, ": listing failed: ", error.message());
  std::sort(names.begin(), names.end());
  return names;
}

void sync_dir(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw run_error(path, ": cannot be opened: ", reason(errno));
  const int result = attempt(FileStep::kSyncDir, path, [&] { return ::fsync(fd); });
  const int error = errno;
  ::close(fd);
  // Some file systems (network mounts) know no fsync of folders and say EINVAL: there is nothing
  // more to do there.
  if (result != 0 && error != EINVAL) throw run_error(path, ": fsync failed: ", reason(error));
}

void rename_durable(const std::string& from, const std::string& to) {
  const auto rename = [&] { return std::rename(from.c_str(), to.c_str()); };
  if (attempt(FileStep::kRename, to, rename) != 0) {
    throw run_error(from, ": renaming to ", to, " failed: ", reason(errno));
  }
  sync_dir(parent_of(to));
}

}  // namespace trireme
