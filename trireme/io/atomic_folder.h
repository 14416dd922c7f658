// A folder that is there wholly or not at all.
//
//   AtomicFolder folder("exports/bert");
//   write_file_atomic(folder.staging_file("config.json"), text);
//   folder.commit();
#pragma once

#include <functional>
#include <string>

namespace trireme::io {

struct AtomicFolderOptions {
  // Asked when something already has the name: may this folder be replaced? Empty: never. (An empty
  // folder always may.)
  std::function<bool(const std::string& path)> may_replace;
  // Ends the message when it may not: "; give --replace ...".
  std::string advice = "; choose another name or remove it";
};

// Files are made in a staging folder beside the final one (".NAME.PID-N.tmp", same file system);
// commit() renames it. Without commit() the destructor removes it and the final name stays as it
// was. A folder that is replaced is exchanged in one step (renameat2, RENAME_EXCHANGE) where the
// file system can, and in two renames otherwise: then a crash between the two leaves the old one
// under ".NAME.PID-N.old".
class AtomicFolder {
 public:
  // Makes the staging folder, and the folders above it when absent. Throws input_error when the
  // final name is taken and may not be replaced, run_error when it cannot be made.
  explicit AtomicFolder(const std::string& path, AtomicFolderOptions options = {});
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::string& path() const { return path_; }             // the final one
  const std::string& staging_path() const { return staging_; }  // where the files go now
  std::string staging_file(const std::string& name) const { return staging_ + "/" + name; }

  // Every file in it must be written and synced by then (AtomicFile does). run_error on failure,
  // input_error when another process took the name meanwhile.
  void commit();

 private:
  void check_free() const;
  void replace();

  std::string path_;
  AtomicFolderOptions options_;
  std::string staging_;
};

}  // namespace trireme::io
