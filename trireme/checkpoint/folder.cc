#include "trireme/checkpoint/folder.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/log.h"
#include "trireme/checkpoint/checkpoint.h"

namespace trireme::checkpoint {
namespace {

constexpr std::string_view kPrefix = "step-";

std::optional<int64_t> parse_step(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return name == step_folder_name(step) ? std::optional(step) : std::nullopt;
}

std::string manifest_path(const std::string& folder) {
  return folder + "/" + std::string(kManifestName);
}

void remove_tree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) throw run_error(path, ": cannot be removed: ", error.message());
}

void remove_checkpoint(const StepFolder& folder) {
  const std::filesystem::path path(folder.path);
  const std::string trash =
      (path.parent_path() / cat(".", path.filename().string(), ".removed")).string();
  remove_tree(trash);
  rename_durable(folder.path, trash);
  remove_tree(trash);
}

std::optional<double> metric_of(const StepFolder& folder, const std::string& key) {
  try {
    const Json manifest = read_json_file(manifest_path(folder.path));
    const Json& metrics = require_object(manifest, "metrics", folder.path);
    const auto found = metrics.find(key);
    if (found == metrics.end() || !found->is_number()) return std::nullopt;
    return found->get<double>();
  } catch (const Error&) {
    return std::nullopt;  // damaged: no candidate
  }
}

// The best one's step; of equals the oldest.
std::optional<int64_t> best_step(const std::vector<StepFolder>& folders,
                                 const Retention& retention) {
  std::optional<int64_t> best;
  double best_value = 0;
  for (const StepFolder& folder : folders) {
    const std::optional<double> value = metric_of(folder, retention.metric);
    if (!value) continue;
    const bool better = retention.higher_is_better ? *value > best_value : *value < best_value;
    if (!best || better) {
      best = folder.step;
      best_value = *value;
    }
  }
  return best;
}

}  // namespace

std::vector<StepFolder> list_steps(const std::string& dir) {
  std::vector<StepFolder> folders;
  if (!dir_exists(dir)) return folders;
  for (const std::string& name : list_dir(dir)) {
    const std::string path = dir + "/" + name;
    const std::optional<int64_t> step = parse_step(name);
    if (step && file_exists(manifest_path(path))) folders.push_back({*step, path});
  }
  std::sort(folders.begin(), folders.end(),
            [](const StepFolder& a, const StepFolder& b) { return a.step < b.step; });
  return folders;
}

bool holds(const std::string& dir, const std::string& path) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::absolute(path, error).parent_path();
  return !error && std::filesystem::equivalent(dir, parent, error) && !error;
}

void sweep(const std::string& dir) {
  if (!dir_exists(dir)) return;
  for (const std::string& name : list_dir(dir)) {
    if (!name.starts_with(cat(".", kPrefix))) continue;
    const std::string path = dir + "/" + name;
    const std::string final_name = name.substr(1, step_folder_name(0).size());
    if (name.ends_with(".old") && parse_step(final_name) && !dir_exists(dir + "/" + final_name)) {
      rename_durable(path, dir + "/" + final_name);
    } else if (name.ends_with(".tmp") || name.ends_with(".old") || name.ends_with(".removed")) {
      remove_tree(path);
    }
  }
}

std::string set_aside_after(const std::string& dir, int64_t step) {
  std::string aside;
  for (const StepFolder& folder : list_steps(dir)) {
    if (folder.step <= step) continue;
    if (aside.empty()) {
      int n = 1;
      while (dir_exists(aside = cat(dir, "/earlier-", n))) ++n;
      ensure_dir(aside);
    }
    rename_durable(folder.path, aside + "/" + step_folder_name(folder.step));
  }
  return aside;
}

void retain(const std::string& dir, const Retention& retention) {
  const std::vector<StepFolder> folders = list_steps(dir);
  const auto last = static_cast<size_t>(std::max<int64_t>(1, retention.keep));
  if (folders.size() <= last) return;
  const std::optional<int64_t> best =
      retention.metric.empty() ? std::nullopt : best_step(folders, retention);
  for (size_t i = 0; i + last < folders.size(); ++i) {
    if (folders[i].step != best) remove_checkpoint(folders[i]);
  }
}

Opened open_for_resume(const std::string& path) {
  if (file_exists(manifest_path(path))) return {path, open_verified(path)};
  if (!dir_exists(path)) throw input_error(path, ": no such folder to resume from");
  std::vector<StepFolder> folders = list_steps(path);
  if (folders.empty()) {
    throw input_error(path, ": holds no checkpoint (a folder named ", step_folder_name(40),
                      ", say, with a ", kManifestName, ")");
  }
  std::string first;
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder) {
    try {
      return {folder->path, open_verified(folder->path)};
    } catch (const Error& error) {
      if (first.empty()) first = error.what();
      log_warn(cat(error.what(), "; this checkpoint is passed over"));
    }
  }
  throw input_error(first, "; none of the ", folders.size(), " checkpoints in ", path,
                    " is undamaged");
}

}  // namespace trireme::checkpoint
