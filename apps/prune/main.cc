// prune MODEL: sets weights to zero or removes heads; prune SWEEP.toml: many of them, scored.

#include "apps/compress/program.h"

int main(int argc, char** argv) {
  const attnlab::CompressProgram program = {
      "prune",
      "Sets weights of a model to zero or removes its heads, or runs a sweep and scores each.",
      {"prune runs/quickstart/softpick-seed1 --method magnitude --sparsity 0.5 --out runs/half",
       "prune runs/quickstart/softpick-seed1 --method wanda --pattern 2:4 --out runs/wanda24",
       "prune experiments/pruning/s26.toml --out runs/pruned", "prune --list"},
      {{"sparsity", "sparsity", "share of the weights that become zero"},
       {"pattern", "pattern", "unstructured, 2:4 or 4:8", /*text=*/true}}};
  return attnlab::RunCompressProgram(program, argc, argv);
}
