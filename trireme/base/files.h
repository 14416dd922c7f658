// Files: whole reads, read-only mappings, atomic and streamed writes. All errors are one line with
// the path and the system's reason: a file that cannot be opened for reading is an input_error,
// everything that fails later (a full disk, a failed fsync) a run_error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// The whole content.
std::string read_file(const std::string& path);

// A file mapped read-only until the object goes. Another process that shortens the file meanwhile
// makes reads of the missing pages fail with SIGBUS; files written by AtomicFile are replaced,
// never shortened.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::string& path() const { return path_; }
  std::size_t size() const { return size_; }
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  std::string_view text() const { return {static_cast<const char*>(data_), size_}; }

 private:
  std::string path_;
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

// A file descriptor with a buffer (1 MiB) in front; the base of the two writers below.
class BufferedFd {
 public:
  BufferedFd() = default;
  BufferedFd(int fd, std::string path);
  ~BufferedFd();  // closes; what was not flushed is dropped
  BufferedFd(const BufferedFd&) = delete;
  BufferedFd& operator=(const BufferedFd&) = delete;

  void write(std::string_view bytes);
  void flush();  // buffer to the kernel
  void sync();   // flush, then fsync
  void close();  // flush, then close; reports what close reports
  std::uint64_t written_bytes() const { return written_bytes_; }
  const std::string& path() const { return path_; }

 private:
  void write_out(std::string_view bytes);

  int fd_ = -1;
  std::string path_;
  std::string buffer_;
  std::uint64_t written_bytes_ = 0;
};

// A new content for `path` that is there wholly or not at all, whatever happens in between: written
// under a temporary name in the same folder (".NAME.PID-N.tmp"), then commit() = fsync, rename over
// `path`, fsync of the folder. Without commit() the destructor removes the temporary and `path`
// stays as it was. A symbolic link is followed; a device or pipe (/dev/stdout) is written directly.
//
//   AtomicFile file(path);
//   file.write(header);
//   file.write(body);
//   file.commit();
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);
  void write(std::span<const std::byte> bytes);
  // Ends the file; after it only the destructor may be called.
  void commit();
  std::uint64_t written_bytes() const { return out_->written_bytes(); }

 private:
  std::string path_;       // where it goes, links followed
  std::string temporary_;  // empty: written directly
  std::unique_ptr<BufferedFd> out_;
};

// write + commit of a small content.
void write_file_atomic(const std::string& path, std::string_view content);

// Adds to the end of a file, made when absent: event files, logs. The destructor flushes as well as
// it can; call flush() to learn of errors.
class AppendFile {
 public:
  explicit AppendFile(const std::string& path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void write(std::string_view bytes) { out_.write(bytes); }
  void flush() { out_.flush(); }
  void sync() { out_.sync(); }

 private:
  BufferedFd out_;
};

bool file_exists(const std::string& path);  // anything but a folder
bool dir_exists(const std::string& path);
std::uint64_t file_size_bytes(const std::string& path);

// The folder and those above it, made when absent.
void ensure_dir(const std::string& path);
// Names (not paths) of the entries, sorted by bytes; without "." and "..".
std::vector<std::string> list_dir(const std::string& path);
// Renames a file or folder and makes the new name survive a power cut (fsync of the folder that
// holds it).
void rename_durable(const std::string& from, const std::string& to);
void sync_dir(const std::string& path);

// A fail-point before every system call of the writers, for tests: called with the step and the
// path, returns the errno to fail with, or 0. It may also end the process, to test a crash there.
// An empty function takes it away.
enum class FileStep { kOpen, kWrite, kSync, kRename, kSyncDir };
using FileFault = std::function<int(FileStep step, const std::string& path)>;
void set_file_fault(FileFault fault);

}  // namespace trireme
