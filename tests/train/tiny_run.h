// A training run small enough for a test.
#pragma once

#include "libs/train/config.h"
#include "tests/test_folder.h"

namespace attnlab {

// 8 symbols, sequences of 16, two heads of 8 in `layers` layers.
inline RunConfig TinyRun(int64_t layers = 1) {
  RunConfig config;
  config.device = "cpu";
  config.threads = 1;
  config.data.bigram_backcopy = {.symbols = 8, .triggers = 1, .successors = 3};
  config.data.sequence_length = 16;
  config.data.batch = 4;
  config.data.validation_sequences = 4;
  config.model.vocab_size = 9;
  config.model.hidden_size = 16;
  config.model.num_hidden_layers = layers;
  config.model.num_attention_heads = 2;
  config.model.intermediate_size = 32;
  config.model.max_position_embeddings = 16;
  config.model.bos_token_id = 8;
  config.model.eos_token_id = -1;
  config.schedule.peak = 1e-2;
  config.schedule.warmup = 2;
  config.train.steps = 10;
  config.train.log_every = 1;
  config.analysis.sequences = 0;
  return config;
}

}  // namespace attnlab
