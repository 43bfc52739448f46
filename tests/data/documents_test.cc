#include "libs/data/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/core/files.h"
#include "libs/data/ordered_pool.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Documents : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Write(const std::string& name, const std::string& contents) {
    const std::string path = folder_ + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    EXPECT_TRUE(WriteFileAtomically(path, contents).ok());
    return path;
  }
  // Reads all texts of the one file at `path`.
  static absl::StatusOr<std::vector<std::string>> Texts(const std::string& path,
                                                        InvalidUtf8 policy = InvalidUtf8::kError) {
    ATTNLAB_ASSIGN_OR_RETURN(const auto files, ListTextFiles({path}));
    ATTNLAB_ASSIGN_OR_RETURN(const auto reader, DocumentReader::Open(files[0]));
    std::vector<std::string> texts;
    for (RawDocument document;;) {
      ATTNLAB_ASSIGN_OR_RETURN(const bool more, reader->Next(document));
      if (!more) break;
      ATTNLAB_ASSIGN_OR_RETURN(texts.emplace_back(),
                               DocumentText(std::move(document), files[0], "text", policy));
    }
    EXPECT_EQ(reader->Sha256Hex(), *Sha256OfFile(path));
    return texts;
  }
  static std::string Message(const absl::Status& status) { return std::string(status.message()); }

  const std::string folder_ = absl::StrCat(::testing::TempDir(), "/attnlab_documents_", getpid());
};

std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string Gzip(const std::string& text) {
  z_stream stream = {};
  deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = text.size();
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = out.size();
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

const std::string kLines = "{\"id\": 1, \"text\": \"one\\n\\u00e9\"}\r\n\n{\"text\": \"two\"}";

TEST_F(Documents, EveryKindOfFile) {
  EXPECT_THAT(*Texts(Write("a.jsonl", kLines)), ElementsAre("one\n\xC3\xA9", "two"));
  EXPECT_THAT(*Texts(Write("a.jsonl.zst", Zstd(kLines))), ElementsAre("one\n\xC3\xA9", "two"));
  EXPECT_THAT(*Texts(Write("a.jsonl.gz", Gzip(kLines))), ElementsAre("one\n\xC3\xA9", "two"));
  EXPECT_THAT(*Texts(Write("a.txt", "whole\nfile\n")), ElementsAre("whole\nfile\n"));
  EXPECT_THAT(*Texts(Write("b.txt.gz", Gzip("x"))), ElementsAre("x"));
  EXPECT_THAT(*Texts(Write("empty.txt", "")), ElementsAre());
  EXPECT_THAT(*Texts(Write("empty.jsonl.zst", Zstd(""))), ElementsAre());
}

TEST_F(Documents, SeveralFramesAndMembers) {
  const std::string first = "{\"text\": \"1\"}\n", second = "{\"text\": \"2\"}\n";
  EXPECT_THAT(*Texts(Write("a.jsonl.zst", Zstd(first) + Zstd(second))), ElementsAre("1", "2"));
  EXPECT_THAT(*Texts(Write("a.jsonl.gz", Gzip(first) + Gzip(second))), ElementsAre("1", "2"));
}

TEST_F(Documents, LinesLongerThanABlock) {
  const std::string text(3 << 20, 'x');
  const std::string line = absl::StrCat("{\"text\": \"", text, "\"}\n");
  EXPECT_THAT(*Texts(Write("a.jsonl.zst", Zstd(line + line))), ElementsAre(text, text));
}

TEST_F(Documents, BrokenCompressionIsAnError) {
  const std::string zstd = Zstd(std::string(100000, 'x') + kLines), gzip = Gzip(kLines);
  EXPECT_THAT(Message(Texts(Write("a.jsonl.zst", zstd.substr(0, zstd.size() - 5))).status()),
              HasSubstr("a.jsonl.zst: the compressed data ends early"));
  EXPECT_THAT(Message(Texts(Write("a.jsonl.gz", gzip.substr(0, gzip.size() - 5))).status()),
              HasSubstr("a.jsonl.gz: the compressed data ends early"));
  EXPECT_THAT(Message(Texts(Write("b.jsonl.zst", kLines)).status()), HasSubstr("broken zstd data"));
  EXPECT_THAT(Message(Texts(Write("b.jsonl.gz", kLines)).status()), HasSubstr("broken gzip data"));
  EXPECT_THAT(Message(Texts(Write("c.jsonl.zst", "")).status()), HasSubstr("ends early"));
}

TEST_F(Documents, ErrorsNameTheLine) {
  EXPECT_THAT(Message(Texts(Write("a.jsonl", "{\"text\": \"x\"}\n\n{\"body\": \"y\"}\n")).status()),
              HasSubstr("a.jsonl:3: no field \"text\"; name the field"));
  EXPECT_THAT(Message(Texts(Write("a.jsonl", "{\"text\": \"x\"}\nnonsense\n")).status()),
              HasSubstr("a.jsonl:2: line 1, byte"));
  EXPECT_THAT(Message(Texts(Write("a.jsonl", "{\"text\": 5}\n")).status()),
              HasSubstr("a.jsonl:1: \"text\": expected a string, found a number"));
  EXPECT_THAT(Message(Texts(Write("a.jsonl", "[\"text\"]\n")).status()),
              HasSubstr("a.jsonl:1: expected an object"));
}

TEST_F(Documents, InvalidUtf8) {
  const std::string line = "{\"text\": \"caf\xE9\"}\n";
  EXPECT_THAT(Message(Texts(Write("a.jsonl", line)).status()),
              HasSubstr("a.jsonl:1: invalid UTF-8"));
  EXPECT_THAT(*Texts(Write("a.jsonl", line), InvalidUtf8::kReplace),
              ElementsAre("caf\xEF\xBF\xBD"));
  EXPECT_THAT(*Texts(Write("a.txt", "\xFF!"), InvalidUtf8::kReplace), ElementsAre("\xEF\xBF\xBD!"));
}

TEST_F(Documents, FoldersAreListedInOrder) {
  Write("b.txt", "b");
  Write("a/z.jsonl.gz", "z");
  Write("a/ignored.md", "m");
  const auto files = ListTextFiles({folder_, folder_ + "/b.txt"});
  ASSERT_TRUE(files.ok());
  ASSERT_EQ(files->size(), 3u);
  EXPECT_TRUE(absl::EndsWith((*files)[0].path, "a/z.jsonl.gz"));
  EXPECT_TRUE((*files)[0].json_lines);
  EXPECT_TRUE(absl::EndsWith((*files)[1].path, "b.txt"));
  EXPECT_THAT(Message(ListTextFiles({folder_ + "/a/ignored.md"}).status()),
              HasSubstr("no known kind"));
  EXPECT_THAT(Message(ListTextFiles({folder_ + "/absent.txt"}).status()), HasSubstr("absent.txt"));
  fs::create_directories(folder_ + "/hollow");
  EXPECT_THAT(Message(ListTextFiles({folder_ + "/hollow"}).status()), HasSubstr("no text files"));
}

TEST(OrderedPool, ResultsComeInOrderAndErrorsEndTheWork) {
  std::atomic<int> running = 0, most = 0;
  std::vector<int> results;
  {
    OrderedPool<int, int> pool(
        4,
        [&](int item) {
          most = std::max(most.load(), ++running);
          std::this_thread::sleep_for(std::chrono::microseconds(item % 7 * 100));
          --running;
          return item * item;
        },
        [&](int result) {
          results.push_back(result);
          return absl::OkStatus();
        });
    for (int i = 0; i < 300; ++i) ASSERT_TRUE(pool.Push(i).ok());
    ASSERT_TRUE(pool.Finish().ok());
  }
  ASSERT_EQ(results.size(), 300u);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(results[i], i * i);
  EXPECT_GT(most, 1);

  OrderedPool<int, int> failing(
      2, [](int item) { return item; },
      [](int result) { return result == 5 ? absl::DataLossError("five") : absl::OkStatus(); });
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) status = failing.Push(i);
  if (status.ok()) status = failing.Finish();
  EXPECT_EQ(status.message(), "five");
}

}  // namespace
}  // namespace attnlab
