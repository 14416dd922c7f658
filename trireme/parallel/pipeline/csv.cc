#include "trireme/parallel/pipeline/csv.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "trireme/base/error.h"

namespace trireme::parallel::pipeline {
namespace {

constexpr int kMost = 1 << 20;  // micro-batches, chunks, ranks: beyond is a slip

std::string_view trimmed(std::string_view text) {
  constexpr const char* kSpace = " \t\r";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::vector<std::string_view> split(std::string_view line, char separator) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0;;) {
    const size_t end = line.find(separator, begin);
    parts.push_back(trimmed(line.substr(begin, end - begin)));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::optional<int> number(std::string_view text) {
  int value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc() || rest != end || value < 0 || value > kMost) {
    return std::nullopt;
  }
  return value;
}

struct Cell {
  std::string where;
  std::string_view text;
};
struct ActionRow {
  int line;
  std::vector<Cell> cells;
};

class Reader {
 public:
  Reader(std::string_view text, const std::string& where) : where_(where) {
    int line = 0;
    for (const std::string_view row : split(text, '\n')) {
      ++line;
      const std::vector<std::string_view> cells = split(row, ',');
      if (row.empty() || row.front() == '#') continue;
      if (std::all_of(cells.begin(), cells.end(), [](auto cell) { return cell.empty(); })) continue;
      read_row(line, cells);
    }
  }

  Schedule schedule() {
    Schedule schedule{where_, micro_batches_, placement_, {}};
    if (micro_batches_ == 0) throw input_error(where_, ": there is no line micro_batches,NUMBER");
    int rank = 0;
    for (const auto& [named, row] : rows_) {
      if (named != rank) throw input_error(where_, ": there is no row of rank ", rank);
      ++rank;
    }
    if (placement_.empty()) {
      for (int chunk = 0; chunk < rank; ++chunk) schedule.rank_of_chunk.push_back(chunk);
    }
    schedule.actions.resize(rows_.size());
    for (const auto& [of_rank, row] : rows_) {
      for (const Cell& cell : row.cells) {
        schedule.actions[static_cast<size_t>(of_rank)].push_back(action(schedule, of_rank, cell));
      }
    }
    return schedule;
  }

 private:
  int number_in(const Cell& cell, const char* what) const {
    const std::optional<int> value = number(cell.text);
    if (!value) throw input_error(cell.where, ": '", cell.text, "' is not ", what);
    return *value;
  }

  void read_row(int line, const std::vector<std::string_view>& texts) {
    std::vector<Cell> cells;
    for (size_t i = 1; i < texts.size(); ++i) {
      if (!texts[i].empty()) cells.push_back({cat(where_, ":", line, ": cell ", i + 1), texts[i]});
    }
    const Cell head{cat(where_, ":", line), texts[0]};
    if (head.text == "micro_batches") {
      if (cells.size() != 1) throw input_error(head.where, ": micro_batches has one number");
      micro_batches_ = number_in(cells[0], "a number of micro-batches");
      if (micro_batches_ < 1) throw input_error(cells[0].where, ": there are no micro-batches");
    } else if (head.text == "placement") {
      placement_.clear();
      for (const Cell& cell : cells) placement_.push_back(number_in(cell, "a rank"));
      if (cells.empty()) throw input_error(head.where, ": placement names the rank of each chunk");
    } else {
      const int rank = number_in(head, "a rank, 'micro_batches' or 'placement'");
      if (!rows_.emplace(rank, ActionRow{line, std::move(cells)}).second) {
        throw input_error(head.where, ": rank ", rank, " has a row already, line ",
                          rows_.at(rank).line);
      }
    }
  }

  Action action(const Schedule& schedule, int rank, const Cell& cell) const {
    const auto wrong = [&] {
      return input_error(cell.where, ": '", cell.text,
                         "' is not an action such as F3, BW3, or F3.1 of chunk 1 (kinds: F, BW, B, "
                         "W, SF, RF, SB, RB)");
    };
    const size_t digits = cell.text.find_first_of("0123456789");
    if (digits == std::string_view::npos) throw wrong();
    const std::optional<ActionKind> kind = kind_from_text(cell.text.substr(0, digits));
    const std::vector<std::string_view> numbers = split(cell.text.substr(digits), '.');
    const std::optional<int> micro_batch = number(numbers[0]);
    if (!kind || !micro_batch || numbers.size() > 2) throw wrong();
    if (numbers.size() == 2) {
      const std::optional<int> chunk = number(numbers[1]);
      if (!chunk) throw wrong();
      return {*kind, *micro_batch, *chunk};
    }
    const std::vector<int> mine = schedule.chunks_of(rank);
    if (mine.size() == 1) return {*kind, *micro_batch, mine[0]};
    throw input_error(cell.where, ": '", cell.text, "' does not say which of the ", mine.size(),
                      " chunks of rank ", rank, ": write ", cell.text, ".CHUNK");
  }

  std::string where_;
  int micro_batches_ = 0;
  std::vector<int> placement_;
  std::map<int, ActionRow> rows_;
};

}  // namespace

std::string to_csv(const Schedule& schedule) {
  std::string text = cat("micro_batches,", schedule.micro_batches, "\nplacement");
  for (const int rank : schedule.rank_of_chunk) text += cat(",", rank);
  text += "\n";
  for (int rank = 0; rank < schedule.stages(); ++rank) {
    text += std::to_string(rank);
    for (const Action& action : schedule.actions[static_cast<size_t>(rank)]) {
      text += "," + action_text(schedule, rank, action);
    }
    text += "\n";
  }
  return text;
}

Schedule schedule_from_csv(std::string_view text, const std::string& where) {
  return Reader(text, where).schedule();
}

}  // namespace trireme::parallel::pipeline
