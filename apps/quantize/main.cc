// quantize MODEL: stores a model's weights with fewer bits; quantize SWEEP.toml: many of them,
// scored.

#include "apps/compress/program.h"

int main(int argc, char** argv) {
  const attnlab::CompressProgram program = {
      "quantize",
      "Stores a model's weights with fewer bits, or runs a sweep of methods and scores each.",
      {"quantize runs/quickstart/softpick-seed1 --method rtn --bits 4 --group-size 8 --out "
       "runs/rtn4",
       "quantize runs/quickstart/softpick-seed1 --method gptq --bits 4 --set act_order=true --out "
       "runs/gptq4",
       "quantize experiments/softpick_quantization/s26.toml --out runs/quantized",
       "quantize experiments/softpick_quantization/s26.toml --set "
       "calibration.training.seeds=[0,1,2] "
       "--out runs/three-draws",
       "quantize --list"},
      {{"bits", "bits", "bits of a stored weight"},
       {"group-size", "group_size", "weights of a row that share a scale; 0 = the whole row"}}};
  return attnlab::RunCompressProgram(program, argc, argv);
}
