#include "apps/bench/device_peers.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>

#include <memory>
#include <set>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "libs/attention/rows.h"
#include "libs/core/log.h"

namespace attnlab {
namespace {

struct Call {
  Inputs x;
  bool causal;
  bool gradients;
  double scale;
};

DevicePeer Flash(const Call& c) {
  const auto forward = [c] {
    return at::_scaled_dot_product_flash_attention(c.x.q, c.x.k, c.x.v, 0.0, c.causal, false,
                                                   c.scale);
  };
  const auto kept = std::make_shared<decltype(forward())>(forward());
  return {"flash", [forward] { forward(); },
          [c, kept] {
            const auto& [out, log_sum, q_starts, k_starts, q_most, k_most, seed, offset, debug] =
                *kept;
            at::_scaled_dot_product_flash_attention_backward_symint(
                c.x.out_grad, c.x.q, c.x.k, c.x.v, out, log_sum, q_starts, k_starts, q_most, k_most,
                0.0, c.causal, seed, offset, c.scale);
          }};
}

DevicePeer Cudnn(const Call& c) {
  const auto forward = [c] {
    return at::_scaled_dot_product_cudnn_attention(c.x.q, c.x.k, c.x.v, {}, c.gradients, 0.0,
                                                   c.causal, false, c.scale);
  };
  const auto kept = std::make_shared<decltype(forward())>(forward());
  return {"cudnn", [forward] { forward(); },
          [c, kept] {
            const auto& [out, log_sum, q_starts, k_starts, q_most, k_most, seed, offset, debug] =
                *kept;
            at::_scaled_dot_product_cudnn_attention_backward_symint(
                c.x.out_grad, c.x.q, c.x.k, c.x.v, out, log_sum, seed, offset, {}, q_starts,
                k_starts, q_most, k_most, 0.0, c.causal, c.scale);
          }};
}

DevicePeer Efficient(const Call& c) {
  if (c.x.q.size(1) != c.x.k.size(1)) throw std::runtime_error("it takes no grouped heads");
  const auto forward = [c] {
    return at::_scaled_dot_product_efficient_attention(c.x.q, c.x.k, c.x.v, {}, c.gradients, 0.0,
                                                       c.causal, c.scale);
  };
  const auto kept = std::make_shared<decltype(forward())>(forward());
  return {"efficient", [forward] { forward(); },
          [c, kept] {
            const auto& [out, log_sum, seed, offset] = *kept;
            at::_scaled_dot_product_efficient_attention_backward(
                c.x.out_grad, c.x.q, c.x.k, c.x.v, {}, out, log_sum, seed, offset, 0.0,
                {true, true, true, false}, c.causal, c.scale);
          }};
}

// Each message once, however many problems it is about.
void LogOnce(const std::string& message) {
  static auto& logged = *new std::set<std::string>;
  if (logged.insert(message).second) LogInfo(message);
}

}  // namespace

std::vector<DevicePeer> MakeDevicePeers(const Inputs& inputs, const AttentionOptions& options,
                                        bool gradients) {
  if (options.window > 0) return {};
  const at::NoGradGuard no_grad;
  // A single query at the end of its sequence sees every key.
  const bool causal = options.causal && inputs.q.size(2) > 1;
  const Call call = {inputs, causal, gradients, ScaleOf(options, inputs.q.size(3))};
  std::vector<DevicePeer> peers;
  const std::pair<const char*, DevicePeer (*)(const Call&)> makers[] = {
      {"flash", Flash}, {"cudnn", Cudnn}, {"efficient", Efficient}};
  for (const auto& [name, make] : makers) {
    try {
      DevicePeer peer = make(call);
      if (gradients) peer.backward();
      peers.push_back(std::move(peer));
    } catch (const std::exception& error) {
      const std::string what = error.what();
      LogOnce(absl::StrCat("LibTorch's ", name, " attention does not take a problem: ",
                           what.substr(0, what.find('\n'))));
    }
  }
  return peers;
}

}  // namespace attnlab
