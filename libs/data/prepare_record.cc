#include "libs/data/prepare_record.h"

#include <type_traits>
#include <utility>

#include "libs/io/json.h"

namespace attnlab {
namespace {

// Fills a JSON object from the fields of the options.
class OptionsDump {
 public:
  explicit OptionsDump(Json& out) : out_(out) {}
  template <class T>
  void operator()(const char* name, const T& value, const char* /*help*/) {
    if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      Json list = Json::MakeArray();
      for (const std::string& item : value) list.Append(item);
      out_.Set(name, std::move(list));
    } else {
      out_.Set(name, value);
    }
  }

 private:
  Json& out_;
};

Json Counts(const PrepareReport::Split& split) {
  Json counts = Json::MakeObject();
  counts.Set("documents", split.documents).Set("tokens", split.tokens);
  return std::move(counts.Set("text_bytes", split.text_bytes));
}

}  // namespace

std::string PrepareRecord(const PrepareOptions& options, const std::vector<PreparedInput>& inputs,
                          const PrepareReport& report) {
  Json fields = Json::MakeObject();
  PrepareOptions copy = options;  // ForEach is for writing too
  copy.ForEach(OptionsDump(fields));
  Json files = Json::MakeArray();
  for (const PreparedInput& input : inputs) {
    Json entry = Json::MakeObject();
    entry.Set("path", input.file.path).Set("bytes", input.file.bytes).Set("sha256", input.sha256);
    files.Append(std::move(entry.Set("held_out", input.held_out)));
  }
  Json record = Json::MakeObject();
  record.Set("options", std::move(fields)).Set("inputs", std::move(files));
  record.Set("train", Counts(report.train)).Set("validation", Counts(report.validation));
  return record.Dump(2) + "\n";
}

}  // namespace attnlab
