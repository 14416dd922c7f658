#include "trireme/io/atomic_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/files.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;

std::string absolute_path(const std::string& path) {
  std::error_code error;
  fs::path full = fs::absolute(path, error).lexically_normal();
  if (error) throw run_error(path, ": ", error.message());
  if (full.filename().empty()) full = full.parent_path();  // a slash at the end
  return full.string();
}

bool is_there(const std::string& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

bool is_empty_dir(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error) && fs::is_empty(path, error) && !error;
}

}  // namespace

AtomicFolder::AtomicFolder(const std::string& path, AtomicFolderOptions options)
    : path_(absolute_path(path)), options_(std::move(options)) {
  check_free();
  const fs::path full(path_);
  ensure_dir(full.parent_path().string());
  static std::atomic<unsigned> counter{0};
  const std::string name =
      cat(".", full.filename().string(), ".", ::getpid(), "-", counter.fetch_add(1), ".tmp");
  const std::string staging = (full.parent_path() / name).string();
  std::error_code error;
  fs::create_directory(staging, error);
  if (error) throw run_error(path_, ": cannot be written: ", error.message());
  staging_ = staging;
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;  // a destructor cannot report; the name tells what the folder is
  if (!staging_.empty()) fs::remove_all(staging_, ignored);
}

void AtomicFolder::check_free() const {
  if (!is_there(path_) || is_empty_dir(path_)) return;
  if (!dir_exists(path_)) throw input_error(path_, ": a file has that name", options_.advice);
  if (!options_.may_replace || !options_.may_replace(path_)) {
    throw input_error(path_, ": the folder exists and is not empty", options_.advice);
  }
}

void AtomicFolder::commit() {
  sync_dir(staging_);
  check_free();
  if (is_there(path_) && !is_empty_dir(path_)) {
    replace();
  } else {
    rename_durable(staging_, path_);
  }
  staging_.clear();
}

void AtomicFolder::replace() {
  std::string old = staging_;
  if (::renameat2(AT_FDCWD, staging_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) != 0) {
    if (errno != EINVAL && errno != ENOSYS) {
      throw run_error(path_, ": cannot be replaced: ", std::generic_category().message(errno));
    }
    old.replace(old.size() - 4, 4, ".old");
    rename_durable(path_, old);
    rename_durable(staging_, path_);
  }
  sync_dir(fs::path(path_).parent_path().string());
  std::error_code error;
  fs::remove_all(old, error);
  if (error) throw run_error(old, ": the replaced folder cannot be removed: ", error.message());
}

}  // namespace trireme::io
