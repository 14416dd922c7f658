#include "trireme/data/squad.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <unordered_set>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/json.h"
#include "trireme/base/utf8.h"
#include "trireme/data/code_points.h"
#include "trireme/data/counted_input.h"
#include "trireme/data/python_text.h"

namespace trireme::data {
namespace {

// Depths of the file's objects and lists, as the parser counts them.
constexpr int kTopKeys = 1, kArticle = 2, kArticleKeys = 3, kParagraph = 4, kParagraphKeys = 5,
              kQuestion = 6;

// A value on one line, cut short.
std::string shown(const Json& value) {
  constexpr int64_t kMost = 60;
  std::string out = dump_json(value);
  const size_t bytes = byte_of_code_point(out, kMost);
  return bytes == out.size() ? out : out.substr(0, bytes) + "...";
}

// What the parser says, without its own numbering: "[json.exception.parse_error.101] parse error at
// line 1, column 5: syntax error while ...".
std::string plain_message(const Json::exception& error) {
  std::string_view text = error.what();
  if (const size_t id = text.find("] "); text.starts_with("[json.") && id != text.npos) {
    text.remove_prefix(id + 2);
  }
  if (const size_t colon = text.find(": "); text.starts_with("parse error") && colon != text.npos) {
    text.remove_prefix(colon + 2);
  }
  // It quotes the last token, which may be long and no UTF-8.
  constexpr size_t kMost = 300;
  std::string out;
  for (const char c : text.substr(0, kMost)) out += c >= 0x20 && c < 0x7F ? c : '?';
  return text.size() > kMost ? out + "..." : out;
}

class SquadParser {
 public:
  SquadParser(std::string name, const SquadOptions& options,
              const std::function<void(QaExample&&)>& sink)
      : at_{.name = std::move(name)}, options_(options), sink_(sink) {}

  void run(std::streambuf* source) {
    // The parser hands every finished article over and then forgets it: `false` drops a value.
    const auto keep = [this](int depth, Json::parse_event_t event, Json& value) {
      return on_event(depth, event, value);
    };
    try {
      const Json rest = Json::parse(CountedInput(source, &at_), CountedInput(), keep);
      if (!rest.is_object()) fail("the top level must be an object {\"data\": [...]}");
    } catch (const Json::exception& e) {
      throw input_error(at_.name, ":", at_.line, ": not valid JSON: ", plain_message(e));
    }
    if (!has_data_) fail("no \"data\" list at the top level: not a SQuAD file");
    if (seen_ == 0) throw input_error("no questions in ", at_.name);
    if (given_ == 0) {
      throw input_error("no answerable questions in ", at_.name, " (", seen_,
                        " without an answer)");
    }
  }

 private:
  bool on_event(int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (depth >= static_cast<int>(kMaxJsonDepth)) {
      fail(top_key_ == "data" ? cat("article ", article_ + 1, ": ") : "", "nested deeper than ",
           kMaxJsonDepth, " levels");
    }
    if (event == Event::key) {
      if (depth == kTopKeys) {
        top_key_ = value.get_ref<const std::string&>();
        if (top_key_ != "data") return false;
        if (has_data_) fail("a second \"data\" list");
        has_data_ = true;
      } else if (depth == kArticleKeys) {
        article_key_ = value.get_ref<const std::string&>();
      } else if (depth == kParagraphKeys) {
        paragraph_key_ = value.get_ref<const std::string&>();
      }
      return true;
    }
    if (top_key_ != "data" || depth == 0) return true;
    const bool opens = event == Event::object_start || event == Event::array_start;
    if (depth == kTopKeys && event != Event::array_start && event != Event::array_end) {
      fail("\"data\" must be a list of articles");
    }
    if (depth == kArticle) {
      if (event == Event::array_start || event == Event::value) {
        fail("article ", article_ + 1, ": must be an object");
      }
      if (event == Event::object_start) lines_.clear();
      if (event == Event::object_end) {
        take_article(value);
        return false;
      }
    }
    const bool in_paragraphs = article_key_ == "paragraphs";
    if (opens && depth == kParagraph && in_paragraphs) lines_.emplace_back();
    if (opens && depth == kQuestion && in_paragraphs && paragraph_key_ == "qas" &&
        !lines_.empty()) {
      lines_.back().push_back(at_.line);
    }
    return true;
  }

  void take_article(const Json& article) {
    article_ += 1;
    paragraph_ = question_ = 0;
    question_id_.clear();
    title_ = article.contains("title") ? text_of(article, "title") : "";
    std::vector<QaExample> examples;  // handed over once the whole article is known to be sound
    for (const Json& paragraph : list_of(article, "paragraphs")) {
      paragraph_ += 1;
      question_ = 0;
      if (!paragraph.is_object()) fail(place(), "must be an object");
      const auto context = std::make_shared<const std::string>(text_of(paragraph, "context"));
      for (const Json& qa : list_of(paragraph, "qas")) {
        question_ += 1;
        question_id_.clear();
        if (!qa.is_object()) fail(place(), "must be an object");
        QaExample example = question_of(qa, context);
        seen_ += 1;
        if (!options_.answerable_only || !example.answers.empty()) {
          examples.push_back(std::move(example));
        }
      }
      question_ = 0;
    }
    given_ += static_cast<int64_t>(examples.size());
    for (QaExample& example : examples) sink_(std::move(example));
  }

  QaExample question_of(const Json& qa, const std::shared_ptr<const std::string>& context) {
    QaExample out;
    out.id = id_of(qa);
    question_id_ = out.id;
    if (!ids_.insert(out.id).second) fail(place(), "this id occurs a second time");
    out.question = python_lstrip(text_of(qa, "question"));
    out.context = context;
    out.title = title_;
    const bool says = qa.contains("is_impossible");
    if (says && !qa["is_impossible"].is_boolean()) {
      fail(place(), "\"is_impossible\" must be true or false");
    }
    out.is_impossible = says && qa["is_impossible"].get<bool>();
    if (out.is_impossible || (options_.answers_optional && !qa.contains("answers"))) return out;
    for (const Json& answer : list_of(qa, "answers")) {
      if (!answer.is_object()) fail(place(), "an answer must be an object");
      out.answers.push_back(answer_of(answer, *context));
    }
    if (out.answers.empty() && says && !options_.answers_optional) {
      fail(place(), "\"is_impossible\" is false, but \"answers\" is empty");
    }
    out.is_impossible = out.answers.empty();
    return out;
  }

  QaAnswer answer_of(const Json& answer, const std::string& context) {
    QaAnswer out;
    out.text = text_of(answer, "text");
    if (out.text.empty()) fail(place(), "an answer's \"text\" is empty");
    if (!answer.contains("answer_start")) fail(place(), "key \"answer_start\" is missing");
    const Json& start = answer["answer_start"];
    if (!start.is_number_integer()) {
      fail(place(), "\"answer_start\" must be a whole number (code points), not ", shown(start));
    }
    const auto length = static_cast<int64_t>(count_code_points(out.text));
    const auto context_length = static_cast<int64_t>(count_code_points(context));
    if (start < 0 || start > context_length) {
      fail(place(), "answer ", shown(answer["text"]), " has \"answer_start\" ", shown(start),
           ", but the context has ", context_length, " characters");
    }
    out.start = start.get<int64_t>();
    const std::string_view found = cut_code_points(context, out.start, out.start + length);
    if (found != out.text) {
      fail(place(), "answer ", shown(answer["text"]), " is not at \"answer_start\" ", out.start,
           " of the context; there stands ", shown(std::string(found)),
           context.find(out.text) == std::string::npos
               ? ", and the context holds it nowhere"
               : cat(" (it stands at ",
                     count_code_points(std::string_view(context).substr(0, context.find(out.text))),
                     ")"));
    }
    return out;
  }

  std::string id_of(const Json& qa) {
    if (!qa.contains("id")) fail(place(), "key \"id\" is missing");
    const Json& id = qa["id"];
    if (id.is_number_integer()) return id.dump();
    if (!id.is_string()) fail(place(), "\"id\" must be text, not ", shown(id));
    return id.get<std::string>();
  }

  const std::string& text_of(const Json& object, const char* key) {
    if (!object.contains(key)) fail(place(), "key \"", key, "\" is missing");
    const Json& value = object[key];
    if (!value.is_string()) fail(place(), "\"", key, "\" must be text, not ", shown(value));
    return value.get_ref<const std::string&>();
  }

  const Json& list_of(const Json& object, const char* key) {
    if (!object.contains(key)) fail(place(), "key \"", key, "\" is missing");
    const Json& value = object[key];
    if (!value.is_array()) fail(place(), "\"", key, "\" must be a list, not ", shown(value));
    return value;
  }

  // `article 2 "Normandy", paragraph 1, question 3 (id "5ad"): `, as far as known.
  std::string place() const {
    std::string out = cat("article ", article_);
    if (!title_.empty()) out += " " + shown(title_);
    if (paragraph_ > 0) out += cat(", paragraph ", paragraph_);
    if (question_ > 0) out += cat(", question ", question_);
    if (question_ > 0 && !question_id_.empty()) out += " (id " + shown(question_id_) + ")";
    return out + ": ";
  }

  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw input_error(at_.name, ":", line(), ": ", parts...);
  }

  // Of the question that is looked at, or where the reader stands.
  int64_t line() const {
    if (paragraph_ == 0 || question_ == 0 || paragraph_ > lines_.size()) return at_.line;
    const std::vector<int64_t>& questions = lines_[paragraph_ - 1];
    return question_ > questions.size() ? at_.line : questions[question_ - 1];
  }

  InputPlace at_;
  SquadOptions options_;
  const std::function<void(QaExample&&)>& sink_;
  bool has_data_ = false;
  std::string top_key_, article_key_, paragraph_key_;
  std::vector<std::vector<int64_t>> lines_;            // of the article's questions, by paragraph
  size_t article_ = 0, paragraph_ = 0, question_ = 0;  // counted from 1; 0: not inside one
  std::string title_, question_id_;
  std::unordered_set<std::string> ids_;
  int64_t seen_ = 0, given_ = 0;
};

}  // namespace

void parse_squad(std::string_view text, const std::string& name, const SquadOptions& options,
                 const std::function<void(QaExample&&)>& sink) {
  ViewBuffer buffer(text);
  SquadParser(name, options, sink).run(&buffer);
}

void read_squad(const std::string& path, const SquadOptions& options,
                const std::function<void(QaExample&&)>& sink) {
  std::filebuf file;
  if (dir_exists(path)) throw input_error(path, ": is a folder, not a file");
  if (file.open(path, std::ios::in | std::ios::binary) == nullptr) {
    throw input_error("cannot read ", path, ": ", std::strerror(errno));
  }
  try {
    SquadParser(path, options, sink).run(&file);
  } catch (const std::ios_base::failure&) {
    throw run_error("cannot read ", path, ": ", std::strerror(errno));
  }
}

std::vector<QaExample> read_squad(const std::string& path, const SquadOptions& options) {
  std::vector<QaExample> out;
  read_squad(path, options, [&](QaExample&& example) { out.push_back(std::move(example)); });
  return out;
}

}  // namespace trireme::data
