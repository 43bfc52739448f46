"""Records what AWQ and SmoothQuant make of a Llama, with transformers and torch on a CPU in float32.

    python record_input_scales.py OUT.safetensors [MODEL TOKENS.safetensors]

Written with torch 2.15.0 and transformers 5.24.0. The searches of mit-han-lab/llm-awq (auto_scale.py, auto_clip.py,
quantizer.py, pre_quant.py) and the factors and W8A8 layers of mit-han-lab/smoothquant (smooth.py, fake_quant.py,
calibration.py) are carried out with their operations in their order. MODEL is a folder in Hugging Face's layout whose
heads each have a key and value of their own; without one a small model with some loud channels is drawn. TOKENS holds
`tokens` [N, T]. Names in the file: config, numbers, tokens, weights.NAME; awq4 and awq3 (groups of 32) and smoothquant
with LAYER.GROUP (the factors), NAME.codes, NAME.scales, and for AWQ LAYER.GROUP.ratio and NAME.zeros; logits of the
first two sequences for SmoothQuant.
"""

import copy
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

GROUP = 32
NAMES = {
    "attention": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "output": ["self_attn.o_proj"],
    "mlp": ["mlp.gate_proj", "mlp.up_proj"],
    "down": ["mlp.down_proj"],
}


def first(output):
    return output[0] if isinstance(output, tuple) else output


def quantize(w, bits):
    shape = w.shape
    w = w.reshape(-1, GROUP)
    largest = 2**bits - 1
    high, low = w.amax(dim=1, keepdim=True), w.amin(dim=1, keepdim=True)
    scales = (high - low).clamp(min=1e-5) / largest
    zeros = (-torch.round(low / scales)).clamp_(0, largest)
    codes = torch.clamp(torch.round(w / scales) + zeros, 0, largest)
    return ((codes - zeros) * scales).reshape(shape), codes.reshape(shape), scales, zeros


def search_scales(block, linears, x, bits, kwargs):
    before = first(block(x, **kwargs))
    loud = x.abs().view(-1, x.shape[-1]).mean(0)
    kept = {k: v.clone() for k, v in block.state_dict().items()}
    best = (float("inf"), None, None)
    for step in range(20):
        ratio = step * 1 / 20
        scales = loud.pow(ratio).clamp(min=1e-4).view(-1)
        scales = scales / (scales.max() * scales.min()).sqrt()
        for linear in linears:
            linear.weight.mul_(scales.view(1, -1))
            linear.weight.data = quantize(linear.weight.data, bits)[0] / scales.view(1, -1)
        loss = (before - first(block(x, **kwargs))).float().pow(2).mean().item()
        if loss < best[0]:
            best = (loss, ratio, scales)
        block.load_state_dict(kept)
    return best[1], best[2]


def clip(weight, x, bits):
    x = x.view(-1, x.shape[-1])
    x = x.reshape(1, x.shape[0], -1, GROUP)
    x = x[:, 0 :: x.shape[1] // 512]
    found = []
    for w in weight.reshape(weight.shape[0], 1, -1, GROUP).split(64):
        largest = w.abs().amax(dim=-1, keepdim=True)
        best, least = largest.clone(), torch.ones_like(largest) * 1e9
        before = (x * w).sum(dim=-1)
        for step in range(10):
            limit = largest * (1 - step / 20)
            rounded = quantize(torch.clamp(w, -limit, limit), bits)[0]
            change = ((x * rounded).sum(dim=-1) - before).pow(2).mean(dim=1).view(least.shape)
            better = change < least
            least[better] = change[better]
            best[better] = limit[better]
        found.append(best)
    best = torch.cat(found).squeeze(1)
    w = weight.reshape(*best.shape[:2], -1)
    return torch.clamp(w, -best, best).reshape(weight.shape)


def inputs_of(layer, x, kwargs):
    seen, hooks = {}, []
    for names in NAMES.values():
        for name in names:
            keep = lambda module, args, output, name=name: seen.__setitem__(name, args[0].clone())
            hooks.append(layer.get_submodule(name).register_forward_hook(keep))
    output = first(layer(x, **kwargs))
    for hook in hooks:
        hook.remove()
    return seen, output


def awq(model, tokens, bits, record):
    length = tokens.shape[1]
    x = model.model.embed_tokens(tokens)
    mask = torch.full((length, length), float("-inf")).triu(1)[None, None]
    places = torch.arange(length)[None]
    kwargs = dict(attention_mask=mask, position_ids=places,
                  position_embeddings=model.model.rotary_emb(x, places))
    for i, layer in enumerate(model.model.layers):
        seen, output = inputs_of(layer, x, kwargs)
        attention, mlp = layer.self_attn, layer.mlp
        jobs = {
            "attention": (layer.input_layernorm, attention, kwargs),
            "output": (attention.v_proj, attention.o_proj, {}),
            "mlp": (layer.post_attention_layernorm, mlp, {}),
            "down": (mlp.up_proj, mlp.down_proj, {}),
        }
        found = {}
        for group, (_, block, arguments) in jobs.items():
            linears = [layer.get_submodule(name) for name in NAMES[group]]
            found[group] = search_scales(block, linears, seen[NAMES[group][0]], bits, arguments)
        for group, (before, _, _) in jobs.items():
            ratio, scales = found[group]
            record[f"awq{bits}.{i}.{group}"] = scales.clone()
            record[f"awq{bits}.{i}.{group}.ratio"] = torch.tensor(ratio)
            before.weight.div_(scales.view(-1, 1) if before.weight.dim() == 2 else scales)
            for name in NAMES[group]:
                layer.get_submodule(name).weight.mul_(scales.view(1, -1))
                seen[name] = seen[name] / scales
        for names in NAMES.values():
            for name in names:
                linear = layer.get_submodule(name)
                if "q_" not in name and "k_" not in name:
                    linear.weight.data = clip(linear.weight.data, seen[name], bits)
                linear.weight.data, codes, scales, zeros = quantize(linear.weight.data, bits)
                key = f"awq{bits}.model.layers.{i}.{name}"
                rows = codes.shape[0]
                record[key + ".codes"] = codes.to(torch.uint8)
                record[key + ".scales"] = scales.view(rows, -1).clone()
                record[key + ".zeros"] = zeros.view(rows, -1).to(torch.uint8)
        x = output


class W8A8(torch.nn.Module):
    def __init__(self, linear):
        super().__init__()
        scales = linear.weight.abs().max(dim=-1, keepdim=True)[0].clamp(min=1e-5).div(127)
        self.codes, self.scales = linear.weight.div(scales).round(), scales

    def forward(self, x):
        scales = x.abs().max(dim=-1, keepdim=True)[0].clamp(min=1e-5).div(127)
        return torch.nn.functional.linear(x.div(scales).round().mul(scales), self.codes * self.scales)


def smoothquant(model, tokens, record, alpha=0.5):
    largest = {}
    for rows in tokens.split(8):
        x = model.model.embed_tokens(rows)
        places = torch.arange(rows.shape[1])[None]
        mask = torch.full((rows.shape[1],) * 2, float("-inf")).triu(1)[None, None]
        kwargs = dict(attention_mask=mask, position_ids=places,
                      position_embeddings=model.model.rotary_emb(x, places))
        for i, layer in enumerate(model.model.layers):
            seen, x = inputs_of(layer, x, kwargs)
            for name, values in seen.items():
                top = values.reshape(-1, values.shape[-1]).abs().max(dim=0)[0]
                largest[i, name] = torch.max(largest.get((i, name), top), top)
    for i, layer in enumerate(model.model.layers):
        for group, norm in (("attention", layer.input_layernorm), ("mlp", layer.post_attention_layernorm)):
            linears = [layer.get_submodule(name) for name in NAMES[group]]
            weights = torch.cat([linear.weight.abs().max(dim=0, keepdim=True)[0] for linear in linears])
            weights = weights.max(dim=0)[0].clamp(min=1e-5)
            scales = (largest[i, NAMES[group][0]].pow(alpha) / weights.pow(1 - alpha)).clamp(min=1e-5)
            norm.weight.div_(scales)
            for linear in linears:
                linear.weight.mul_(scales.view(1, -1))
            record[f"smoothquant.{i}.{group}"] = scales
        for names in NAMES.values():
            for name in names:
                rounded = W8A8(layer.get_submodule(name))
                parent, child = name.split(".")
                setattr(layer.get_submodule(parent), child, rounded)
                key = f"smoothquant.model.layers.{i}.{name}"
                record[key + ".codes"] = rounded.codes.to(torch.int8)
                record[key + ".scales"] = rounded.scales.squeeze(1).clone()
    record["smoothquant.logits"] = model(tokens[:2]).logits.clone()


def draw():
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=48, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
                         rms_norm_eps=1e-6, initializer_range=0.1, attn_implementation="eager")
    model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if "layernorm" in name:
            weight.data[torch.tensor([3, 17, 28])] *= 12
    return model, torch.randint(0, 48, (16, 64))


@torch.no_grad()
def main():
    path, *source = sys.argv[1:]
    if source:
        model = LlamaForCausalLM.from_pretrained(source[0], dtype=torch.float32, attn_implementation="eager")
        tokens = load_file(source[1])["tokens"]
    else:
        model, tokens = draw()
    config = model.config
    sizes = [config.vocab_size, config.hidden_size, config.num_hidden_layers, config.num_attention_heads,
             config.intermediate_size]
    record = {"config": torch.tensor(sizes), "tokens": tokens}
    record["numbers"] = torch.tensor([config.rms_norm_eps, config.rope_parameters["rope_theta"]], dtype=torch.float64)
    for name, weight in model.state_dict().items():
        record["weights." + name] = weight.clone()
    for bits in (4, 3):
        awq(copy.deepcopy(model), tokens, bits, record)
    smoothquant(model, tokens, record)
    save_file({name: tensor.contiguous() for name, tensor in record.items()}, path)


main()
