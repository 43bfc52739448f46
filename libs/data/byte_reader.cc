#include "libs/data/byte_reader.h"

#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/files.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

// The file itself: counts and hashes what is read.
class PlainReader : public ByteReader {
 public:
  PlainReader(std::string path, FILE* file) : path_(std::move(path)), file_(file) {}
  ~PlainReader() override { std::fclose(file_); }

  absl::StatusOr<size_t> Read(char* out, size_t size) override {
    const size_t n = std::fread(out, 1, size, file_);
    if (n == 0 && std::ferror(file_)) return ErrnoStatus(errno, "read", path_);
    sha_.Update({reinterpret_cast<const uint8_t*>(out), n});
    bytes_ += static_cast<int64_t>(n);
    return n;
  }
  int64_t bytes_on_disk() const override { return bytes_; }
  std::string Sha256Hex() override { return sha_.Hex(); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  FILE* const file_;
  Sha256 sha_;
  int64_t bytes_ = 0;
};

// A decompressor with a buffer of compressed bytes before it.
class DecompressingReader : public ByteReader {
 public:
  explicit DecompressingReader(std::unique_ptr<PlainReader> file)
      : file_(std::move(file)), buffer_(size_t{1} << 18) {}

  int64_t bytes_on_disk() const override { return file_->bytes_on_disk(); }
  std::string Sha256Hex() override { return file_->Sha256Hex(); }

  absl::StatusOr<size_t> Read(char* out, size_t size) override {
    for (;;) {
      if (begin_ == end_ && !at_end_) {
        ATTNLAB_ASSIGN_OR_RETURN(end_, file_->Read(buffer_.data(), buffer_.size()));
        begin_ = 0;
        at_end_ = end_ == 0;
      }
      if (begin_ == end_ && between_frames_) return size_t{0};
      const size_t available = end_ - begin_;
      ATTNLAB_ASSIGN_OR_RETURN(const size_t written,
                               Decompress(buffer_.data() + begin_, available, out, size));
      if (written > 0) return written;
      if (at_end_ && !between_frames_) {
        return Broken(absl::StrCat("the compressed data ends early, after ", bytes_on_disk(),
                                   " bytes of file; copy it again"));
      }
    }
  }

 protected:
  // Consumes some of in[0, available) and writes some of out[0, size); returns the bytes written.
  virtual absl::StatusOr<size_t> Decompress(const char* in, size_t available, char* out,
                                            size_t size) = 0;
  void Consume(size_t bytes) { begin_ += bytes; }
  void SetBetweenFrames(bool between) { between_frames_ = between; }
  bool between_frames() const { return between_frames_; }
  absl::Status Broken(absl::string_view what) const {
    return absl::DataLossError(absl::StrCat(file_->path(), ": ", what));
  }

 private:
  const std::unique_ptr<PlainReader> file_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
  bool at_end_ = false;
  bool between_frames_ = false;  // a whole frame has ended and no other has begun
};

class ZstdReader : public DecompressingReader {
 public:
  explicit ZstdReader(std::unique_ptr<PlainReader> file)
      : DecompressingReader(std::move(file)), stream_(ZSTD_createDStream()) {
    ATTNLAB_CHECK(stream_ != nullptr);
  }
  ~ZstdReader() override { ZSTD_freeDStream(stream_); }

 protected:
  absl::StatusOr<size_t> Decompress(const char* in, size_t available, char* out,
                                    size_t size) override {
    ZSTD_inBuffer input = {in, available, 0};
    ZSTD_outBuffer output = {out, size, 0};
    const size_t rc = ZSTD_decompressStream(stream_, &output, &input);
    if (ZSTD_isError(rc))
      return Broken(absl::StrCat("broken zstd data (", ZSTD_getErrorName(rc), ")"));
    Consume(input.pos);
    SetBetweenFrames(rc == 0);
    return output.pos;
  }

 private:
  ZSTD_DStream* const stream_;
};

class GzipReader : public DecompressingReader {
 public:
  explicit GzipReader(std::unique_ptr<PlainReader> file) : DecompressingReader(std::move(file)) {
    constexpr int kGzip = 16;  // expect a gzip header
    ATTNLAB_CHECK(inflateInit2(&stream_, MAX_WBITS + kGzip) == Z_OK);
  }
  ~GzipReader() override { inflateEnd(&stream_); }

 protected:
  absl::StatusOr<size_t> Decompress(const char* in, size_t available, char* out,
                                    size_t size) override {
    if (between_frames()) inflateReset(&stream_);  // another member follows
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in));
    stream_.avail_in = static_cast<uInt>(available);
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(std::min(size, size_t{1} << 30));
    const size_t room = stream_.avail_out;
    const int rc = inflate(&stream_, Z_NO_FLUSH);
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
      return Broken(absl::StrCat("broken gzip data (",
                                 stream_.msg != nullptr ? stream_.msg : zError(rc), ")"));
    }
    Consume(available - stream_.avail_in);
    SetBetweenFrames(rc == Z_STREAM_END);
    return room - stream_.avail_out;
  }

 private:
  z_stream stream_ = {};
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteReader>> ByteReader::Open(const std::string& path) {
  FILE* file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) return ErrnoStatus(errno, "open", path);
  auto plain = std::make_unique<PlainReader>(path, file);
  if (absl::EndsWith(path, ".zst")) return std::make_unique<ZstdReader>(std::move(plain));
  if (absl::EndsWith(path, ".gz")) return std::make_unique<GzipReader>(std::move(plain));
  return plain;
}

}  // namespace attnlab
