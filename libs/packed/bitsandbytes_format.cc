// quantization_config of bitsandbytes, both ways, and the reader of its registry line.

#include "libs/packed/bitsandbytes_format.h"

#include <string>

#include "libs/core/status.h"
#include "libs/packed/format_list.h"

namespace attnlab {
namespace {

// What transformers writes, in its order.
Json Config(bool four_bit, const FourBitOptions& options, double threshold) {
  Json config = Json::MakeObject();
  config.Set("_load_in_4bit", four_bit)
      .Set("_load_in_8bit", !four_bit)
      .Set("bnb_4bit_compute_dtype", "float32")
      .Set("bnb_4bit_quant_storage", "uint8")
      .Set("bnb_4bit_quant_type", options.type == FourBitType::kNf4 ? "nf4" : "fp4")
      .Set("bnb_4bit_use_double_quant", options.double_quant)
      .Set("llm_int8_enable_fp32_cpu_offload", false)
      .Set("llm_int8_has_fp16_weight", false)
      .Set("llm_int8_skip_modules", Json(Json::Array{"lm_head"}))
      .Set("llm_int8_threshold", threshold)
      .Set("load_in_4bit", four_bit)
      .Set("load_in_8bit", !four_bit)
      .Set("quant_method", "bitsandbytes");
  return config;
}

}  // namespace

Json FourBitConfig(const FourBitOptions& options) { return Config(true, options, 6.0); }

Json LlmInt8Config(double threshold) {
  return Config(false, {.type = FourBitType::kFp4}, threshold);
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadBitsandbytesMatrix(MatrixTensors& tensors,
                                                                           int64_t rows,
                                                                           int64_t cols,
                                                                           const JsonRef& config) {
  ATTNLAB_ASSIGN_OR_RETURN(const bool four_bit, config["load_in_4bit"].BoolOr(false));
  ATTNLAB_ASSIGN_OR_RETURN(const bool eight_bit, config["load_in_8bit"].BoolOr(false));
  if (four_bit == eight_bit) {
    return config.Error("one of load_in_4bit and load_in_8bit must be true");
  }
  if (eight_bit) {
    ATTNLAB_ASSIGN_OR_RETURN(const double threshold, config["llm_int8_threshold"].NumberOr(6.0));
    return ReadLlmInt8(tensors, rows, cols, threshold);
  }
  ATTNLAB_ASSIGN_OR_RETURN(const std::string type, config["bnb_4bit_quant_type"].StringOr("fp4"));
  if (type == "nf4") return ReadFourBit(tensors, rows, cols, FourBitType::kNf4);
  if (type == "fp4") return ReadFourBit(tensors, rows, cols, FourBitType::kFp4);
  return config["bnb_4bit_quant_type"].Error("\"" + type + "\" is neither nf4 nor fp4");
}

}  // namespace attnlab
