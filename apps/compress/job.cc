#include "apps/compress/job.h"

#include <ATen/core/Tensor.h>

#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "libs/core/status.h"
#include "libs/io/result_names.h"
#include "libs/model/model_io.h"
#include "libs/model/runtime.h"
#include "libs/recipe/recipe.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;

void WriteMetrics(const Subject& subject, const CompressOutcome& outcome, at::ScalarType dtype,
                  ResultsWriter& writer) {
  const CompressReport& report = outcome.report;
  const auto write = [&](const char* name, double value, const char* label, const char* unit,
                         const char* better, const char* definition) {
    if (std::isnan(value)) return;
    writer.Write(name, Metric{.value = value,
                              .label = label,
                              .unit = unit,
                              .better = better,
                              .definition = definition});
  };
  write("weight_bytes", static_cast<double>(WeightBytes(*subject.model, dtype)), "weights", "bytes",
        "lower", "all weights as the file holds them, embedding and head included");
  write("bits_per_weight", report.bits(), "bits a weight", "bits", "lower",
        "stored bits of the layers' matrices, scales and indices included, over their weights");
  write("sparsity", report.sparsity(), "zero weights", "fraction", "",
        "share of exact zeros in the layers' matrices");
  write("weight_error", report.weight_error(), "weight error", "fraction", "lower",
        "root of the mean over all weights of (|W - W'| / |W|)^2, a matrix at a time");
  write("output_error", report.output_error(), "output error", "fraction", "lower",
        "|X (W - W')^T| / |X W^T| on the calibration text, mean over the matrices");
  write("compress_seconds", report.seconds, "time to compress", "s", "lower",
        "calibration and compression of all layers");
}

std::vector<Column> MatrixTable(const CompressReport& report) {
  std::vector<Column> columns = {{"matrix", "", {}, {}},
                                 {"rows", "", {}, {}},
                                 {"cols", "", {}, {}},
                                 {"bits", "", {}, {}},
                                 {"zeros", "fraction", {}, {}},
                                 {"weight error", "fraction", {}, {}},
                                 {"output error", "fraction", {}, {}},
                                 {"time", "s", {}, {}}};
  for (const MatrixReport& matrix : report.matrices) {
    columns[0].texts.push_back(matrix.name);
    size_t column = 1;
    for (const double value :
         {static_cast<double>(matrix.rows), static_cast<double>(matrix.cols), matrix.bits,
          matrix.sparsity, matrix.weight_error, matrix.output_error, matrix.seconds}) {
      columns[column++].numbers.push_back(value);
    }
  }
  return columns;
}

absl::Status CopyBeside(const fs::path& from, const fs::path& to) {
  std::error_code error;
  if (!fs::exists(from, error)) return absl::OkStatus();
  fs::copy_file(from, to, error);
  return error ? ErrnoStatus(error.value(), "cannot copy", from.string()) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<Calibration> CalibrationText(const CompressJob& job, const Subject& subject) {
  DataOptions data;
  if (subject.run) {
    data = subject.run->data;
  } else {
    data.sequence_length = subject.model->config().max_position_embeddings;
    if (job.calibration.source.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("method ", job.method, " needs calibration text, and ", subject.folder,
                       " is of no run whose recipe names one; give a folder that `prepare` wrote: "
                       "--calibration, or source of a sweep's calibration set"));
    }
  }
  return DrawCalibration(job.calibration, data, subject.model->config().vocab_size);
}

absl::StatusOr<CompressOutcome> Compress(const CompressJob& job, Subject& subject) {
  CompressOutcome outcome;
  at::Tensor tokens;
  if (job.how->needs().any() || job.measure_outputs) {
    ATTNLAB_ASSIGN_OR_RETURN(Calibration calibration, CalibrationText(job, subject));
    tokens = std::move(calibration.tokens);
    outcome.inputs = std::move(calibration.inputs);
  }
  CompressOptions options;
  ATTNLAB_ASSIGN_OR_RETURN(options.dtype, LoadModelType(subject.folder));
  options.measure_outputs = job.measure_outputs;
  options.forward.bfloat16 = job.bfloat16;
  ATTNLAB_ASSIGN_OR_RETURN(outcome.report,
                           CompressModel(*subject.model, *job.how, tokens, options));
  return outcome;
}

int64_t WeightBytes(const Transformer& model, at::ScalarType dtype) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : model.NamedParameters()) {
    bytes += tensor.numel() * static_cast<int64_t>(c10::elementSize(dtype));
  }
  for (int64_t layer = 0; layer < model.config().num_hidden_layers; ++layer) {
    for (const MatrixSlot slot : kMatrixSlots) {
      if (const auto& stored = model.Stored(layer, slot)) bytes += stored->Bytes();
    }
  }
  return bytes;
}

absl::Status SaveCompressed(const CompressJob& job, const Subject& subject,
                            const CompressOutcome& outcome, const std::string& out,
                            const std::string& kind, const std::vector<std::string>& command_line) {
  std::error_code error;
  if (fs::exists(out, error)) {
    return absl::AlreadyExistsError(
        absl::StrCat(out, " is there already; give --out another folder or remove it"));
  }
  const std::string half = out + ".tmp";
  fs::remove_all(half, error);
  fs::create_directories(half + "/model", error);
  if (error) return ErrnoStatus(error.value(), "cannot make the folder", half);

  SaveOptions save;
  ATTNLAB_ASSIGN_OR_RETURN(save.dtype, LoadModelType(subject.folder));
  save.quantization = job.how->QuantizationConfig();
  ATTNLAB_RETURN_IF_ERROR(SaveModel(*subject.model, half + "/model", save));
  if (subject.tokenizer != nullptr) {
    ATTNLAB_RETURN_IF_ERROR(SaveTokenizer(*subject.tokenizer, half + "/model"));
  }
  const fs::path recipe =
      fs::absolute(subject.folder).lexically_normal().parent_path() / "recipe.toml";
  ATTNLAB_RETURN_IF_ERROR(CopyBeside(recipe, half + "/recipe.toml"));

  Provenance provenance = MachineProvenance(subject.model->device(), command_line);
  provenance.seed = subject.seed;
  provenance.parameters = ParameterCount(subject.model->config());
  provenance.inputs = outcome.inputs;
  provenance.recipe = absl::StrCat("model = \"", subject.folder, "\"\nmethod = \"", job.method,
                                   "\"\nsettings = \"", job.settings, "\"\n");
  if (job.how->needs().any() || job.measure_outputs) {
    absl::StrAppend(&provenance.recipe, "\n[calibration]\n", DumpToml(job.calibration));
  }
  ATTNLAB_ASSIGN_OR_RETURN(
      const auto writer,
      ResultsWriter::Create(half + "/results.h5",
                            {kind, absl::StrCat(subject.name, " ", job.method, " ", job.settings),
                             subject.model->config().attention.weighting},
                            provenance));
  WriteMetrics(subject, outcome, save.dtype, *writer);
  writer->WriteTable(names::kMatrixTable, MatrixTable(outcome.report));
  ATTNLAB_RETURN_IF_ERROR(writer->Finish("finished"));
  fs::rename(half, out, error);
  return error ? ErrnoStatus(error.value(), "cannot rename to", out) : absl::OkStatus();
}

}  // namespace attnlab
