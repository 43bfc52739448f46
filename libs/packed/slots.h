// The seven weight matrices of a decoder layer, by their Hugging Face names.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace attnlab {

enum class MatrixSlot { kQ, kK, kV, kO, kGate, kUp, kDown };

inline constexpr std::array kMatrixSlots = {MatrixSlot::kQ,   MatrixSlot::kK,    MatrixSlot::kV,
                                            MatrixSlot::kO,   MatrixSlot::kGate, MatrixSlot::kUp,
                                            MatrixSlot::kDown};

// "self_attn.q_proj", "mlp.down_proj", ...
constexpr const char* SlotName(MatrixSlot slot) {
  switch (slot) {
    case MatrixSlot::kQ:
      return "self_attn.q_proj";
    case MatrixSlot::kK:
      return "self_attn.k_proj";
    case MatrixSlot::kV:
      return "self_attn.v_proj";
    case MatrixSlot::kO:
      return "self_attn.o_proj";
    case MatrixSlot::kGate:
      return "mlp.gate_proj";
    case MatrixSlot::kUp:
      return "mlp.up_proj";
    case MatrixSlot::kDown:
      return "mlp.down_proj";
  }
  return "";
}

// "model.layers.0.self_attn.q_proj"
inline std::string MatrixName(int64_t layer, MatrixSlot slot) {
  return "model.layers." + std::to_string(layer) + "." + SlotName(slot);
}

}  // namespace attnlab
