#!/usr/bin/env python3
"""Makes the pairs of name lists in this folder: make_pairs.py CONVERT [NAME...]

CONVERT is the folder transformers/models of a release whose wheel has the conversion scripts (4.46). Needs torch, timm and transformers
4.49. Each element of a source model is a unique number. The target's own conversion runs on them, so that the numbers in a target
tensor show its source. The last part of the function of a pair names the conversion. README.md describes the files.
"""

import os
import re
import sys
import types

import numpy as np
import torch

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "torch"))
import with_timm

timm = with_timm.timm()
import torchvision.models as tv
import transformers as tf

sys.modules.setdefault("requests", types.ModuleType("requests"))

PAIRS = {}


def pair(f):
    PAIRS[f.__name__] = f
    return f


def script(path):
    file = os.path.join(sys.argv[1], path + ".py")
    text = open(file).read()
    # Only functions and tables are needed, so imports for downloads are removed.
    text = re.sub(r"^(from|import) (?!(re|collections|torch|typing|argparse|json|math|__future__)\b).*?(\([^)]*\))?$", "", text, flags=re.M)
    text = re.sub(r"^from transformers[^(\n]*\([^)]*\)", "", text, flags=re.M)
    module = types.ModuleType(path)
    module.__dict__.update(
        torch=torch, logging=types.SimpleNamespace(set_verbosity_info=lambda: None, get_logger=lambda *a: None))
    text = "from __future__ import annotations\n" + text.replace("from __future__ import annotations", "")
    exec(compile(text, file, "exec"), module.__dict__)
    return module


def shapes(model):
    return dict(model.state_dict())


def meta(make, *args, **more):
    """Names and shapes of a full-sized model. Sizes of 32 and more are divided by 8."""
    with torch.device("meta"):
        sd = make(*args, **more).state_dict()
    return {k: torch.zeros([n // 8 if n >= 32 and n % 8 == 0 else n for n in v.shape], dtype=v.dtype) for k, v in sd.items()}


def fill(sd):
    """The same names and shapes with a unique number in every element."""
    out, n = {}, 1
    for k, v in sd.items():
        out[k] = torch.arange(n, n + v.numel(), dtype=torch.int64).reshape(v.shape)
        out[k].kind = v.dtype
        n += v.numel()
    return out


def kinds(sd):
    return {k: "i" if not v.dtype.is_floating_point else "f" for k, v in sd.items()}


def how(source, t):
    """The tensors of source that make t, and the operation; None if there are none."""
    names = list(source)
    starts = torch.tensor([int(source[n].flatten()[0]) if source[n].numel() else 0 for n in names])
    flat = t.flatten()
    if flat.numel() == 0 or flat.dtype != torch.int64 or int(flat.min()) < 1:
        return None
    where = torch.searchsorted(starts, flat, right=True) - 1
    used = torch.unique(where, sorted=False)
    if len(used) == 1:
        s = source[names[int(used[0])]]
        name = names[int(used[0])]
        if s.numel() == t.numel():
            if torch.equal(s.flatten(), flat):
                return [name], "copy" if s.shape == t.shape else "reshape"
            if s.dim() == 2 and torch.equal(s.t().flatten(), flat):
                return [name], "transpose"
            if s.dim() == 4 and torch.equal(s.permute(3, 2, 0, 1), t):
                return [name], "permute"
            return None
        for d in range(s.dim()):
            if s.shape[d] % max(t.shape[d] if t.dim() == s.dim() else 1, 1):
                continue
            n = s.numel() // t.numel()
            if n > 1 and s.shape[d] % n == 0:
                for i, c in enumerate(s.chunk(n, d)):
                    if torch.equal(c, t):
                        return [name], "part %d %d %d" % (d, i, n)
        return None
    used, first = np.unique(where.numpy(), return_index=True)
    order = [int(w) for w in used[np.argsort(first)]]
    parts = [source[names[w]] for w in order]
    for d in range(t.dim()):
        try:
            if torch.equal(torch.cat(parts, d), t):
                return [names[w] for w in order], "join %d" % d
        except RuntimeError:
            pass
    return None


def write(name, source, target, made, kind):
    """source: filled tensors; target: names and shapes; made: result of the conversion; kind: dtype letters of both."""
    lines, right = ["s\t%s\t%s\t[%s]" % (k, kind[0].get(k, "f"), ",".join(map(str, v.shape))) for k, v in source.items()], 0
    for k, v in target.items():
        h = how(source, made[k]) if k in made and made[k].shape == v.shape else None
        right += h is not None
        lines.append("t\t%s\t%s\t[%s]\t%s" % (k, kind[1].get(k, "f"), ",".join(map(str, v.shape)),
                                             "-" if h is None else ",".join(h[0]) + "\t" + h[1]))
    with open(os.path.join(here, name + ".tsv"), "w") as f:
        f.write("\n".join(lines) + "\n")
    print(name, len(source), "to", len(target), "with", right)


def both(name, source, target, convert):
    """A pair and its reverse."""
    src = fill(source)
    made = {k: v for k, v in convert(dict(src)).items() if k in target}
    write(name, src, target, made, (kinds(source), kinds(target)))
    return src, made


def back(name, source, target, src, made):
    """The reverse of a pair: every number of the source is looked up in the result of the conversion."""
    tgt = fill(target)
    top = int(max(v.max() for v in src.values() if v.numel())) + 1
    where = torch.zeros(top, dtype=torch.int64)
    for k, v in made.items():
        if v.shape == tgt[k].shape:
            where[v.flatten()] = tgt[k].flatten()
    write(name, tgt, source, {k: where[v] for k, v in src.items()}, (kinds(target), kinds(source)))


def renamed(rules, drop=()):
    def convert(sd):
        out = {}
        for k, v in sd.items():
            if any(re.search(d, k) for d in drop):
                continue
            for old, new in rules:
                k = re.sub(old, new, k)
            out[k] = v
        return out

    return convert


def by_keys(module, config, prefix="", **more):
    """A conversion by a script of the usual form."""

    def convert(sd):
        for old, new in module.create_rename_keys(config, **more):
            if old in sd:
                sd[new] = sd.pop(old)
        for f in ("read_in_q_k_v", "read_in_k_v"):
            if hasattr(module, f):
                getattr(module, f)(sd, config, **more)
        return sd

    return convert


def filtered(module, model, **more):
    def convert(sd):
        return module.checkpoint_filter_fn(dict(sd), model, **more)

    return convert


SMALL = dict(hidden_size=24, num_hidden_layers=5, num_attention_heads=2, intermediate_size=96, num_labels=10)
VIT = dict(embed_dim=24, depth=5, num_heads=2, num_classes=10)


def vit(**more):
    return timm.models.vision_transformer.VisionTransformer(**{**VIT, **more})


@pair
def vit_timm_hf():
    config = tf.ViTConfig(**SMALL)
    a, b = shapes(vit()), shapes(tf.ViTForImageClassification(config))
    r = both("vit_timm_hf", a, b, by_keys(script("vit/convert_vit_timm_to_pytorch"), config))
    back("vit_hf_timm", a, b, *r)


@pair
def dino_hf():
    config = tf.ViTConfig(**SMALL)
    a, b = shapes(vit(num_classes=0)), shapes(tf.ViTModel(config, add_pooling_layer=False))
    both("dino_hf", a, b, by_keys(script("vit/convert_dino_to_pytorch"), config, base_model=True))


@pair
def deit_timm_hf():
    config = tf.DeiTConfig(**SMALL)
    model = timm.models.deit.VisionTransformerDistilled(**VIT)
    a, b = shapes(model), shapes(tf.DeiTForImageClassificationWithTeacher(config))
    r = both("deit_timm_hf", a, b, by_keys(script("deit/convert_deit_timm_to_pytorch"), config))
    back("deit_hf_timm", a, b, *r)


def beit(**more):
    return timm.models.beit.Beit(**{**VIT, **more}, qkv_bias=True, init_values=0.1, use_abs_pos_emb=False, use_rel_pos_bias=True)


def own_beit():
    """With the index buffer of each layer, which the published files have."""
    out = {}
    for k, v in shapes(beit()).items():
        out[k] = v
        if k.endswith("relative_position_bias_table"):
            out[k.replace("bias_table", "index")] = torch.zeros(197, 197, dtype=torch.int64)
    return out


def with_tables(sd, convert, prefix):
    """The result of a conversion, with the tables of the layers, which the conversion does not move."""
    tables = {re.sub(r"blocks\.(\d+)\.attn", prefix + r".encoder.layer.\1.attention.attention.relative_position_bias", k): v
              for k, v in sd.items() if re.match(r"blocks\.\d+\.attn\.relative_position_bias_table", k)}
    return {**convert(sd), **tables}


@pair
def beit_hf():
    config = tf.BeitConfig(**SMALL, use_relative_position_bias=True, use_mean_pooling=True)
    a, b = own_beit(), shapes(tf.BeitForImageClassification(config))
    keys = by_keys(script("beit/convert_beit_unilm_to_pytorch"), config)
    # The published file has no k_bias, which timm computes.
    r = both("beit_hf", a, b, lambda sd: with_tables({k: v for k, v in sd.items() if "k_bias" not in k}, keys, "beit"))
    back("beit_hf_timm", a, b, *r)


@pair
def data2vec_hf():
    config = tf.Data2VecVisionConfig(**SMALL, use_relative_position_bias=True, use_mean_pooling=True)
    keys = by_keys(script("data2vec/convert_data2vec_vision_original_pytorch_checkpoint_to_pytorch"), config, hf_prefix="data2vec_vision.")
    both("data2vec_hf", own_beit(), shapes(tf.Data2VecVisionForImageClassification(config)),
         lambda sd: with_tables(sd, keys, "data2vec_vision"))


@pair
def mae():
    """MAE's own file, which has a decoder, to transformers and to the classifier of timm."""
    config = tf.ViTMAEConfig(**{**SMALL, "num_labels": 2}, decoder_hidden_size=16, decoder_num_hidden_layers=3,
                             decoder_num_attention_heads=2, decoder_intermediate_size=64)
    own = {}
    e = shapes(vit(num_classes=0))
    d = shapes(vit(embed_dim=16, depth=3, num_classes=0))
    for k in ("cls_token", "pos_embed"):
        own[k] = e[k]
    own["mask_token"] = torch.zeros(1, 1, 16)
    own["decoder_pos_embed"] = d["pos_embed"]
    own.update({k: v for k, v in e.items() if k not in own})
    own["decoder_embed.weight"], own["decoder_embed.bias"] = torch.zeros(16, 24), torch.zeros(16)
    own.update({"decoder_" + k: v for k, v in d.items() if k.startswith(("blocks", "norm"))})
    own["decoder_pred.weight"], own["decoder_pred.bias"] = torch.zeros(768, 16), torch.zeros(768)
    b = shapes(tf.ViTMAEForPreTraining(config))
    module = script("vit_mae/convert_vit_mae_to_pytorch")
    r = both("mae_hf", own, b, lambda sd: module.convert_state_dict(sd, config))
    back("mae_hf_own", own, b, *r)
    model = vit(global_pool="avg")
    both("mae_timm", own, shapes(model), filtered(timm.models.vision_transformer, model))


def own_swin(model, v2=False):
    """The names of Microsoft's file: the downsampling is in the previous stage, and index buffers are included."""
    out = {}
    for k, v in shapes(model).items():
        k = re.sub(r"^layers\.(\d)\.downsample", lambda m: "layers.%d.downsample" % (int(m[1]) - 1), k)
        k = k.replace("head.fc.", "head.")
        out[k] = v
    order = sorted(out, key=lambda k: (k.startswith(("norm.", "head.")), "layers" in k, int(k.split(".")[1]) if "layers" in k else 0,
                                       "downsample" in k))
    res = {}
    for k in order:
        res[k] = out[k]
        if k.endswith("relative_position_bias_table"):
            res[k.replace("bias_table", "index")] = torch.zeros(49, 49, dtype=torch.int64)
    return res


SWIN = dict(embed_dim=24, depths=(2, 2, 6, 2), num_heads=(1, 2, 4, 8), num_classes=10)


@pair
def swin():
    model = timm.models.swin_transformer.SwinTransformer(**SWIN)
    own = own_swin(model)
    r = both("swin_ms_timm", own, shapes(model), filtered(timm.models.swin_transformer, model))
    back("swin_timm_ms", own, shapes(model), *r)
    config = tf.SwinConfig(embed_dim=24, depths=[2, 2, 6, 2], num_heads=[1, 2, 4, 8], num_labels=10)
    hf = tf.SwinForImageClassification(config)
    module = script("swin/convert_swin_timm_to_pytorch")
    r = both("swin_ms_hf", own, shapes(hf), lambda sd: module.convert_state_dict(sd, hf))
    back("swin_hf_ms", own, shapes(hf), *r)
    sim = {("encoder." + k): v for k, v in own.items() if not k.startswith("head")}
    sim = {"encoder.mask_token": torch.zeros(1, 1, 24), **sim}
    sim["decoder.0.weight"], sim["decoder.0.bias"] = torch.zeros(3072, 192, 1, 1), torch.zeros(3072)
    config = tf.SwinConfig(embed_dim=24, depths=[2, 2, 6, 2], num_heads=[1, 2, 4, 8], image_size=224, encoder_stride=32)
    hf = tf.SwinForMaskedImageModeling(config)
    module = script("swin/convert_swin_simmim_to_pytorch")
    both("swin_simmim_hf", sim, shapes(hf), lambda sd: module.convert_state_dict(sd, hf))


@pair
def swinv2():
    model = timm.models.swin_transformer_v2.SwinTransformerV2(**SWIN, window_size=8, img_size=256)
    a = shapes(model)
    own = own_swin(model)
    own = {k: v for k, v in own.items() if "index" not in k}
    full = {}
    for k, v in own.items():  # buffers of the published file
        full[k] = v
        if k.endswith("attn.logit_scale"):
            full[k.replace("logit_scale", "relative_coords_table")] = torch.zeros(1, 15, 15, 2)
            full[k.replace("logit_scale", "relative_position_index")] = torch.zeros(64, 64, dtype=torch.int64)
    both("swinv2_ms_timm", full, a, filtered(timm.models.swin_transformer_v2, model))
    config = tf.Swinv2Config(embed_dim=24, depths=[2, 2, 6, 2], num_heads=[1, 2, 4, 8], num_labels=10, image_size=256, window_size=8)
    hf = tf.Swinv2ForImageClassification(config)
    module = script("swinv2/convert_swinv2_timm_to_pytorch")
    b = {k: v for k, v in shapes(hf).items() if "relative_coords" not in k and "relative_position_index" not in k}
    both("swinv2_hf", {k: v for k, v in full.items() if "mask" not in k}, b, lambda sd: module.convert_state_dict(sd, hf))


def own_convnext(a):
    """Meta's names, made from timm's."""
    rules = [(r"^stem\.(\d)", r"downsample_layers.0.\1"), (r"^stages\.(\d)\.downsample\.(\d)", r"downsample_layers.\1.\2"),
             (r"^stages\.(\d)\.blocks\.(\d+)", r"stages.\1.\2"), (r"conv_dw", "dwconv"), (r"mlp\.fc(\d)", r"pwconv\1"),
             (r"mlp\.grn\.weight", "grn.gamma"), (r"mlp\.grn\.bias", "grn.beta"),
             (r"^head\.norm", "norm"), (r"^head\.fc", "head")]
    out = renamed(rules)(dict(a))
    first = [k for k in out if k.startswith("downsample")]
    out = {**{k: out[k] for k in first}, **out}
    return {k: (v.reshape(1, 1, 1, -1) if "grn" in k else v) for k, v in out.items()}


@pair
def convnext():
    for v2 in ("", "v2"):
        model = timm.models.convnext.ConvNeXt(depths=(3, 3, 9, 3), dims=(8, 16, 32, 64), num_classes=10, use_grn=bool(v2),
                                              ls_init_value=None if v2 else 1e-6)
        a = shapes(model)
        own = own_convnext(a)
        r = both("convnext%s_fb_timm" % v2, own, a, filtered(timm.models.convnext, model))
        if not v2:
            back("convnext_timm_fb", own, a, *r)
        cls = tf.ConvNextV2ForImageClassification if v2 else tf.ConvNextForImageClassification
        conf = tf.ConvNextV2Config if v2 else tf.ConvNextConfig
        hf = shapes(cls(conf(depths=[3, 3, 9, 3], hidden_sizes=[8, 16, 32, 64], num_labels=10)))
        module = script("convnext%s/convert_convnext%s_to_pytorch" % (v2, v2))

        def convert(sd):
            sd = {module.rename_key(k): v for k, v in sd.items()}
            return {k if k.startswith("classifier") else "convnext%s.%s" % (v2, k): v for k, v in sd.items()}

        r = both("convnext%s_fb_hf" % v2, own, hf, convert)
        if not v2:
            back("convnext_hf_fb", own, hf, *r)


def own_dino(swiglu=False, registers=0):
    more = dict(mlp_layer=timm.layers.SwiGLU, mlp_ratio=2.6667) if swiglu else {}
    model = vit(num_classes=0, init_values=1e-5, patch_size=14, img_size=518, reg_tokens=registers,
                no_embed_class=registers > 0, **more)
    a = shapes(model)
    own = {}
    for k, v in a.items():
        if k == "pos_embed":
            own["pos_embed"] = torch.zeros(1, 1 + 37 * 37, 24)
            own["mask_token"] = torch.zeros(1, 24)
            continue
        own["register_tokens" if k == "reg_token" else k] = v
    return model, own


@pair
def dinov2():
    config = dict(SMALL, image_size=518, patch_size=14)
    config.pop("intermediate_size")
    config.pop("num_labels")
    model, own = own_dino()
    hf = tf.Dinov2Model(tf.Dinov2Config(**config))
    module = script("dinov2/convert_dinov2_to_hf")
    r = both("dinov2_hf", own, shapes(hf), by_keys(module, hf.config))
    back("dinov2_hf_own", own, shapes(hf), *r)
    # A fused SwiGLU, which is w12 in both; timm has it split.
    giant = {}
    for k, v in own.items():
        m = re.match(r"(blocks\.\d+\.mlp\.)fc(\d)\.(\w+)", k)
        if m:
            hidden, one = 64, m[2] == "1"
            shape = ([2 * hidden] if one else [24]) + ([] if m[3] == "bias" else [24 if one else hidden])
            giant[m[1] + ("w12." if one else "w3.") + m[3]] = torch.zeros(shape)
        else:
            giant[k] = v
    hf = tf.Dinov2Model(tf.Dinov2Config(**config, use_swiglu_ffn=True, mlp_ratio=4))
    b = shapes(hf)
    both("dinov2_swiglu_hf", giant, b,
         lambda sd: renamed([(r"mlp\.w12", "mlp.weights_in"), (r"mlp\.w3", "mlp.weights_out")])(by_keys(module, hf.config)(sd)))
    model, own = own_dino(registers=4)
    own["pos_embed"] = torch.zeros(1, 1 + 37 * 37, 24)
    both("dinov2_reg_timm", own, shapes(model), filtered(timm.models.vision_transformer, model))
    hf = tf.Dinov2WithRegistersModel(tf.Dinov2WithRegistersConfig(**config))
    both("dinov2_reg_hf", own, shapes(hf),
         lambda sd: (sd.__setitem__("embeddings.register_tokens", sd.pop("register_tokens")), by_keys(module, hf.config)(sd))[1])


RESNET_HF = [(r"^conv1\.", "resnet.embedder.embedder.convolution."), (r"^bn1\.", "resnet.embedder.embedder.normalization."),
             (r"^layer(\d)\.(\d+)\.conv(\d)", lambda m: "resnet.encoder.stages.%d.layers.%s.layer.%d.convolution" % (int(m[1]) - 1, m[2], int(m[3]) - 1)),
             (r"^layer(\d)\.(\d+)\.bn(\d)", lambda m: "resnet.encoder.stages.%d.layers.%s.layer.%d.normalization" % (int(m[1]) - 1, m[2], int(m[3]) - 1)),
             (r"^layer(\d)\.(\d+)\.downsample\.0", lambda m: "resnet.encoder.stages.%d.layers.%s.shortcut.convolution" % (int(m[1]) - 1, m[2])),
             (r"^layer(\d)\.(\d+)\.downsample\.1", lambda m: "resnet.encoder.stages.%d.layers.%s.shortcut.normalization" % (int(m[1]) - 1, m[2])),
             (r"^fc\.", "classifier.1.")]


@pair
def resnet():
    """By hand: the forward pass of both takes convolutions and norms in this order."""
    for n, kind in ((50, "bottleneck"), (18, "basic")):
        a = meta(tv.resnet50 if n == 50 else tv.resnet18, num_classes=10)
        deep = [3, 4, 6, 3] if n == 50 else [2, 2, 2, 2]
        wide = [256, 512, 1024, 2048] if n == 50 else [64, 128, 256, 512]
        b = meta(tf.ResNetForImageClassification, tf.ResNetConfig(depths=deep, hidden_sizes=wide, layer_type=kind, num_labels=10))
        r = both("resnet%d_tv_hf" % n, a, b, renamed(RESNET_HF))
        if n == 50:
            back("resnet50_hf_tv", a, b, *r)
    wrapped = {"state." + "module.backbone." + k: v for k, v in meta(tv.resnet18, num_classes=10).items() if not k.startswith("fc")}
    wrapped["state.module.fc.0.weight"], wrapped["state.module.fc.0.bias"] = torch.zeros(16, 64), torch.zeros(16)
    b = meta(timm.create_model, "resnet18", num_classes=10)
    both("resnet18_moco_timm", wrapped, b, renamed([(r"^state\.module\.backbone\.", "")]))


def open_clip(text=5, image=5):
    def block(p, d):
        out = {p + "ln_1.weight": [d], p + "ln_1.bias": [d], p + "attn.in_proj_weight": [3 * d, d], p + "attn.in_proj_bias": [3 * d],
               p + "attn.out_proj.weight": [d, d], p + "attn.out_proj.bias": [d], p + "ln_2.weight": [d], p + "ln_2.bias": [d],
               p + "mlp.c_fc.weight": [4 * d, d], p + "mlp.c_fc.bias": [4 * d], p + "mlp.c_proj.weight": [d, 4 * d], p + "mlp.c_proj.bias": [d]}
        return out

    s = {"positional_embedding": [77, 16], "text_projection": [16, 12], "logit_scale": [], "visual.class_embedding": [24],
         "visual.positional_embedding": [50, 24], "visual.proj": [24, 12], "visual.conv1.weight": [24, 3, 32, 32],
         "visual.ln_pre.weight": [24], "visual.ln_pre.bias": [24]}
    for i in range(image):
        s.update(block("visual.transformer.resblocks.%d." % i, 24))
    s.update({"visual.ln_post.weight": [24], "visual.ln_post.bias": [24]})
    for i in range(text):
        s.update(block("transformer.resblocks.%d." % i, 16))
    s.update({"token_embedding.weight": [100, 16], "ln_final.weight": [16], "ln_final.bias": [16]})
    return {k: torch.zeros(v) for k, v in s.items()}


@pair
def clip():
    """By hand from the copy functions of transformers' script; timm's side by its own conversion."""
    a = open_clip()
    config = tf.CLIPConfig(text_config=dict(hidden_size=16, intermediate_size=64, num_hidden_layers=5, num_attention_heads=2, vocab_size=100),
                           vision_config=dict(hidden_size=24, intermediate_size=96, num_hidden_layers=5, num_attention_heads=2, patch_size=32),
                           projection_dim=12)
    b = shapes(tf.CLIPModel(config))
    rules = [(r"^visual\.transformer\.resblocks", "vision_model.encoder.layers"), (r"^transformer\.resblocks", "text_model.encoder.layers"),
             (r"ln_(\d)\.", r"layer_norm\1."), (r"c_fc", "fc1"), (r"c_proj", "fc2"), (r"\.attn\.", ".self_attn."),
             (r"^visual\.class_embedding", "vision_model.embeddings.class_embedding"),
             (r"^visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
             (r"^visual\.conv1", "vision_model.embeddings.patch_embedding"), (r"^visual\.ln_pre", "vision_model.pre_layrnorm"),
             (r"^visual\.ln_post", "vision_model.post_layernorm"), (r"^positional_embedding", "text_model.embeddings.position_embedding.weight"),
             (r"^token_embedding", "text_model.embeddings.token_embedding"), (r"^ln_final", "text_model.final_layer_norm")]

    def convert(sd):
        sd = renamed(rules)(sd)
        out = {}
        for k, v in sd.items():
            m = re.match(r"(.*)in_proj_(weight|bias)", k)
            if m:
                for n, c in zip("qkv", v.chunk(3)):
                    out["%s%s_proj.%s" % (m[1], n, m[2])] = c
            else:
                out[k] = v
        out["visual_projection.weight"] = out.pop("visual.proj").T
        out["text_projection.weight"] = out.pop("text_projection").T
        return out

    r = both("clip_openai_hf", a, b, convert)
    back("clip_hf_openai", a, b, *r)
    model = vit(patch_size=32, pre_norm=True, num_classes=12, qkv_bias=True)
    both("clip_openai_timm", a, shapes(model), filtered(timm.models.vision_transformer, model))


@pair
def sam():
    config = tf.SamConfig(vision_config=dict(hidden_size=24, num_hidden_layers=4, num_attention_heads=2, global_attn_indexes=[1, 3],
                                             output_channels=16, image_size=256, mlp_dim=96).copy(),
                          prompt_encoder_config=dict(hidden_size=16, mask_input_channels=8, image_size=256),
                          mask_decoder_config=dict(hidden_size=16, mlp_dim=128, iou_head_hidden_dim=16, num_attention_heads=2))
    b = shapes(tf.SamModel(config))
    module = script("sam/convert_sam_to_hf")
    # The published names: the reverse of the script's table.
    own = {}
    back_map = [(v, k) for k, v in module.KEYS_TO_MODIFY_MAPPING.items()]
    for k, v in b.items():
        if k.startswith("shared_image_embedding"):
            continue
        m = re.search(r"output_hypernetworks_mlps\.\d+\.", k)
        if m:
            k = k.replace("layers.0", "layers.1").replace("proj_in", "layers.0").replace("proj_out", "layers.2")
        else:
            for new, old in sorted(back_map, key=lambda x: -len(x[0])):
                if new in (".layer_norm",):
                    continue
                if new == "layers" and not k.startswith("vision_encoder") and not k.startswith("image_encoder"):
                    continue
                k = k.replace(new, old) if new != "shared_embedding.positional_embedding" or k.startswith("prompt") else k
        if "neck" not in k:
            k = k.replace(".layer_norm", ".norm")
        own[k] = v
    made = module.replace_keys(dict(own))
    lost = [k for k in b if k not in made]
    if lost:
        print("sam: lost", lost[:5])
    both("sam_hf", own, b, module.replace_keys)


@pair
def levit():
    model = timm.models.levit.Levit(embed_dim=(32, 64, 96), depth=(2, 3, 4), key_dim=16, num_heads=(2, 3, 4), num_classes=10)
    model = timm.models.levit.LevitDistilled(embed_dim=(32, 64, 96), depth=(2, 3, 4), key_dim=16, num_heads=(2, 3, 4), num_classes=10)
    a = shapes(model)
    # Meta's names: attention and MLP are separate blocks with consecutive numbers.
    own, n = {}, -1
    last = None
    for k, v in a.items():
        m = re.match(r"stages\.(\d)\.(blocks\.(\d+)|downsample)\.(attn_downsample|attn|mlp)\.(.*)", k)
        if m:
            here_ = m.group(1, 2, 4)
            n += here_ != last
            last = here_
            rest = m[5].replace("linear.", "c.")
            if m[4] == "mlp":
                rest = rest.replace("ln1.", "0.").replace("ln2.", "2.")
            else:
                rest = rest.replace("proj.ln.", "proj.1.").replace("q.ln.", "q.1.")
            residual = "" if m[4] == "attn_downsample" else "m."
            own["blocks.%d.%s%s" % (n, residual, rest)] = v
        else:
            k = re.sub(r"stem\.conv(\d)", lambda m: "patch_embed.%d" % (2 * int(m[1]) - 2), k)
            own[k.replace("linear.", "c." if "patch" in k else "l.").replace("head.linear", "head.l")] = v
    names = list(a)
    both("levit_fb_timm", own, a, lambda sd: dict(zip(names, sd.values())))
    config = tf.LevitConfig(hidden_sizes=[32, 64, 96], depths=[2, 3, 4], key_dim=[16, 16, 16], num_attention_heads=[2, 3, 4], num_labels=10,
                            attention_ratio=[2, 2, 2], mlp_ratio=[2, 2, 2])
    hf = tf.LevitForImageClassificationWithTeacher(config)
    b = shapes(hf)
    keys, new = list(own), list(b)
    if len(keys) == len(new):
        both("levit_fb_hf", own, b, lambda sd: {n: sd[o] for o, n in zip(keys, new)})
    else:
        print("levit: lengths", len(keys), len(new), [(x, y) for x, y in zip(keys, new)][:6])


@pair
def tiny_vit():
    model = timm.create_model("tiny_vit_5m_224", num_classes=10, embed_dims=[16, 32, 40, 80], num_heads=[1, 2, 4, 5])
    a = shapes(model)
    own, origin = {}, {}
    for old, v in a.items():
        k = re.sub(r"^patch_embed\.conv(\d)", lambda m: "patch_embed.seq.%d" % (2 * int(m[1]) - 2), old)
        k = k.replace(".conv.", ".c.") if re.search(r"(conv\d|local_conv|seq\.\d)\.conv\.", k) else k
        k = re.sub(r"^stages\.(\d)\.downsample", lambda m: "layers.%d.downsample" % (int(m[1]) - 1), k)
        k = re.sub(r"^stages", "layers", k)
        k = k.replace("head.norm.", "norm_head.").replace("head.fc.", "head.")
        own[k], origin[k] = v, old
        if k.endswith("attention_biases"):
            own[k.replace("attention_biases", "attention_bias_idxs")] = torch.zeros(49, 49, dtype=torch.int64)
    order = sorted(own, key=lambda k: (k.startswith(("norm_head", "head")), int(k.split(".")[1]) if k.startswith("layers") else -1))
    own = {k: own[k] for k in order}
    r = both("tinyvit_ms_timm", own, a, lambda sd: {origin[k]: v for k, v in sd.items() if k in origin})
    back("tinyvit_timm_ms", own, a, *r)


@pair
def segformer():
    config = tf.SegformerConfig(hidden_sizes=[8, 16, 40, 64], depths=[2, 2, 3, 2], num_labels=10, decoder_hidden_size=32)
    b = shapes(tf.SegformerForSemanticSegmentation(config))
    module = script("segformer/convert_segformer_original_to_pytorch")
    # The authors' names, with key and value in one tensor.
    rules = [(r"^segformer\.encoder\.block\.(\d)\.(\d)", lambda m: "backbone.block%d.%s" % (int(m[1]) + 1, m[2])),
             (r"^segformer\.encoder\.patch_embeddings\.(\d)\.layer_norm", lambda m: "backbone.patch_embed%d.norm" % (int(m[1]) + 1)),
             (r"^segformer\.encoder\.patch_embeddings\.(\d)\.proj", lambda m: "backbone.patch_embed%d.proj" % (int(m[1]) + 1)),
             (r"^segformer\.encoder\.layer_norm\.(\d)", lambda m: "backbone.norm%d" % (int(m[1]) + 1)),
             (r"attention\.self\.query", "attn.q"), (r"attention\.self\.sr", "attn.sr"), (r"attention\.self\.layer_norm", "attn.norm"),
             (r"attention\.output\.dense", "attn.proj"), (r"layer_norm_(\d)", r"norm\1"), (r"mlp\.dense(\d)", r"mlp.fc\1"),
             (r"decode_head\.linear_c\.(\d)", lambda m: "decode_head.linear_c%d" % (int(m[1]) + 1)),
             (r"decode_head\.linear_fuse", "decode_head.linear_fuse.conv"), (r"decode_head\.batch_norm", "decode_head.linear_fuse.bn"),
             (r"decode_head\.classifier", "decode_head.linear_pred")]
    own = {}
    for k, v in renamed(rules)(dict(b)).items():
        if ".attention.self.value." in k:
            continue
        if ".attention.self.key." in k:
            k, v = k.replace("attention.self.key", "attn.kv"), torch.cat([v, v])
        own[k] = v

    def convert(sd):
        sd = module.rename_keys(sd)
        module.read_in_k_v(sd, config)
        return dict(sd)

    both("segformer_hf", own, b, convert)


@pair
def pvt_v2():
    from transformers import PvtV2Config, PvtV2ForImageClassification
    config = PvtV2Config(hidden_sizes=[8, 16, 40, 64], depths=[2, 2, 3, 2], num_attention_heads=[1, 2, 5, 8], mlp_ratios=[8, 8, 4, 4], num_labels=10)
    b = shapes(PvtV2ForImageClassification(config))
    module = script("pvt_v2/convert_pvt_v2_to_pytorch")
    keys = module.create_rename_keys(config)
    tmp = {}
    for old, new in keys:
        if new in b:
            tmp[old] = b[new]
        elif "attn.kv" in old:
            ref = b[new.replace(".kv.", ".key.")]
            tmp[old] = torch.cat([ref, ref])
    both("pvtv2_own_hf", tmp, b, by_keys(module, config))
    model = timm.models.pvt_v2.PyramidVisionTransformerV2(embed_dims=(8, 16, 40, 64), depths=(2, 2, 3, 2), num_heads=(1, 2, 5, 8), mlp_ratios=(8, 8, 4, 4), num_classes=10)
    both("pvtv2_own_timm", tmp, shapes(model), filtered(timm.models.pvt_v2, model))


@pair
def poolformer():
    config = tf.PoolFormerConfig(depths=[2, 2, 6, 2], hidden_sizes=[8, 16, 40, 64], num_labels=10)
    b = shapes(tf.PoolFormerForImageClassification(config))
    module = script("poolformer/convert_poolformer_original_to_pytorch")
    own = {}
    for i in range(4):
        p = "patch_embed.proj." if i == 0 else "network.%d.proj." % (2 * i - 1)
        q = "poolformer.encoder.patch_embeddings.%d.projection." % i
        for x in ("weight", "bias"):
            own[p + x] = b[q + x]
        for k, v in b.items():
            m = re.match(r"poolformer\.encoder\.block\.%d\.(\d)\.(.*)" % i, k)
            if m:
                rest = m[2].replace("before_norm", "norm1").replace("after_norm", "norm2").replace("output.conv", "mlp.fc")
                own["network.%d.%s.%s" % (2 * i, m[1], rest)] = v
    own.update({k.replace("poolformer.", "").replace("classifier", "head"): v for k, v in b.items() if "norm." in k and "encoder" not in k or "classifier" in k})
    both("poolformer_hf", own, b, module.rename_keys)


@pair
def bit():
    model = timm.models.resnetv2.ResNetV2(layers=[2, 3, 3, 2], channels=(64, 128, 256, 512), num_classes=10, stem_chs=32)
    config = tf.BitConfig(embedding_size=32, hidden_sizes=[64, 128, 256, 512], depths=[2, 3, 3, 2], num_labels=10)
    module = script("bit/convert_bit_to_pytorch")
    b = shapes(tf.BitForImageClassification(config))
    both("bit_timm_hf", shapes(model), b,
         lambda sd: {module.rename_key(k): v.squeeze() if "head" in k else v for k, v in sd.items()})


@pair
def hiera():
    config = tf.HieraConfig(embed_dim=16, depths=[1, 2, 5, 2], num_heads=[1, 2, 4, 8], num_labels=10)
    module = script("hiera/convert_hiera_to_hf")
    b = shapes(tf.HieraForImageClassification(config))
    keys = module.create_rename_keys(config, False, False)
    own = {old: b[new] for old, new in keys if new in b}
    lost = [new for old, new in keys if new not in b]
    print("hiera lost", lost[:3])
    both("hiera_hf", own, b, lambda sd: {new: sd[old] for old, new in keys if old in sd})


@pair
def cvt():
    config = tf.CvtConfig(depth=[1, 2, 4], embed_dim=[16, 24, 48], num_heads=[1, 3, 6], num_labels=10)
    module = script("cvt/convert_cvt_original_pytorch_checkpoint_to_pytorch")
    b = shapes(tf.CvtForImageClassification(config))
    keys = []
    for idx in range(3):
        if config.cls_token[idx]:
            keys += module.cls_token(idx)
        keys += module.embeddings(idx)
        for cnt in range(config.depth[idx]):
            keys += module.attention(idx, cnt)
    keys += module.final()
    own = {old: b[new] for new, old in keys if new in b}
    for n in list(b):
        if n.endswith("num_batches_tracked"):
            pass
    both("cvt_hf", own, b, lambda sd: {new: sd[old] for new, old in keys if old in sd})


@pair
def gpt2():
    """nanoGPT's names against transformers', whose Conv1D weights are transposed; by hand."""
    d, v = 24, 100
    config = tf.GPT2Config(n_embd=d, n_layer=4, n_head=2, vocab_size=v, n_positions=64)
    b = shapes(tf.GPT2LMHeadModel(config))
    own = {k: (x.T if re.search(r"(c_attn|c_fc|c_proj)\.weight", k) else x) for k, x in b.items()}
    both("gpt2_hf_nano", b, own,
         lambda sd: {k: (x.T if re.search(r"(c_attn|c_fc|c_proj)\.weight", k) else x) for k, x in sd.items()})


@pair
def bert():
    """The names of fairseq's RoBERTa against transformers', by hand from the script of transformers."""
    config = tf.RobertaConfig(hidden_size=24, num_hidden_layers=5, num_attention_heads=2, intermediate_size=96, vocab_size=100, max_position_embeddings=66, type_vocab_size=1)
    b = shapes(tf.RobertaForMaskedLM(config))
    rules = [(r"^roberta\.embeddings\.word_embeddings", "decoder.sentence_encoder.embed_tokens"),
             (r"^roberta\.embeddings\.position_embeddings", "decoder.sentence_encoder.embed_positions"),
             (r"^roberta\.embeddings\.LayerNorm", "decoder.sentence_encoder.emb_layer_norm"),
             (r"^roberta\.encoder\.layer\.(\d+)", r"decoder.sentence_encoder.layers.\1"),
             (r"attention\.self\.query", "self_attn.q_proj"), (r"attention\.self\.key", "self_attn.k_proj"), (r"attention\.self\.value", "self_attn.v_proj"),
             (r"attention\.output\.dense", "self_attn.out_proj"), (r"attention\.output\.LayerNorm", "self_attn_layer_norm"),
             (r"intermediate\.dense", "fc1"), (r"output\.dense", "fc2"), (r"output\.LayerNorm", "final_layer_norm"),
             (r"^lm_head\.dense", "decoder.lm_head.dense"), (r"^lm_head\.layer_norm", "decoder.lm_head.layer_norm"),
             (r"^lm_head\.decoder\.weight", "decoder.lm_head.weight"), (r"^lm_head\.bias", "decoder.lm_head.bias")]
    skip = [r"token_type", r"lm_head\.decoder\.bias", r"position_ids"]
    conv = renamed(rules, skip)
    own = conv(dict(b))
    inverse = {next(iter(conv({k: 0})), None): k for k in b}
    order = sorted(own, key=lambda k: ("lm_head" in k, "layers" in k, int(k.split(".")[3]) if "layers" in k else 0,
                                       next((i for i, w in enumerate(("self_attn.k", "self_attn.v", "self_attn.q", "self_attn.out", "self_attn_layer", "fc1", "fc2", "final")) if w in k), -1)))
    own = {k: own[k] for k in order}
    both("roberta_fairseq_hf", own, b, lambda sd: {inverse[k]: v for k, v in sd.items()})


@pair
def llama():
    """Meta's names against transformers', by hand. The rows of wq and wk are also reordered, which names do not show and which is left out."""
    config = tf.LlamaConfig(hidden_size=24, intermediate_size=64, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2, vocab_size=100)
    b = shapes(tf.LlamaForCausalLM(config))
    rules = [(r"^model\.layers", "layers"), (r"self_attn\.([qkvo])_proj", r"attention.w\1"), (r"mlp\.gate_proj", "feed_forward.w1"),
             (r"mlp\.down_proj", "feed_forward.w2"), (r"mlp\.up_proj", "feed_forward.w3"), (r"input_layernorm", "attention_norm"),
             (r"post_attention_layernorm", "ffn_norm"), (r"^model\.norm", "norm"), (r"^model\.embed_tokens", "tok_embeddings"), (r"^lm_head", "output")]
    conv = renamed(rules)
    own = conv(dict(b))
    inverse = {next(iter(conv({k: 0}))): k for k in b}
    both("llama_meta_hf", own, b, lambda sd: {inverse[k]: v for k, v in sd.items()})


@pair
def regnet():
    """torchvision to timm, by hand from timm's table for the authors' files."""
    a = {k: v[tuple(slice(n // 8 if n >= 32 and n % 8 == 0 else n) for n in v.shape)] if v.dim() else v
         for k, v in tv.regnet_y_400mf(num_classes=10).state_dict().items()}
    b = meta(timm.create_model, "regnety_004", num_classes=10)
    rules = [(r"^stem\.0", "stem.conv"), (r"^stem\.1", "stem.bn"), (r"^trunk_output\.block\d\.block(\d)-(\d+)", lambda m: "s%s.b%d" % (m[1], int(m[2]) + 1)),
             (r"f\.a\.0", "conv1.conv"), (r"f\.a\.1", "conv1.bn"), (r"f\.b\.0", "conv2.conv"), (r"f\.b\.1", "conv2.bn"), (r"f\.se", "se"),
             (r"f\.c\.0", "conv3.conv"), (r"f\.c\.1", "conv3.bn"), (r"proj\.0", "downsample.conv"), (r"proj\.1", "downsample.bn"), (r"^fc", "head.fc")]
    both("regnet_tv_timm", a, b, renamed(rules))


@pair
def mobilenet_v2():
    """torchvision to timm: both have their tensors in the order of the forward pass."""
    a, b = meta(tv.mobilenet_v2, num_classes=10), meta(timm.create_model, "mobilenetv2_100", num_classes=10)
    keys, new = list(a), list(b)
    assert [tuple(a[k].shape) for k in keys] == [tuple(b[k].shape) for k in new]
    both("mobilenetv2_tv_timm", a, b, lambda sd: {n: sd[o] for o, n in zip(keys, new)})


@pair
def efficientnet():
    """torchvision to timm: both have their tensors in the order of the forward pass, too."""
    a, b = meta(tv.efficientnet_b0, num_classes=10), meta(timm.create_model, "efficientnet_b0", num_classes=10)
    keys, new = list(a), list(b)
    same = [tuple(a[k].shape) for k in keys] == [tuple(b[k].shape) for k in new]
    if not same:
        print("efficientnet: not in one order", len(keys), len(new))
        return
    both("efficientnet_tv_timm", a, b, lambda sd: {n: sd[o] for o, n in zip(keys, new)})


@pair
def vit_tv():
    """torchvision's ViT to timm's, by hand."""
    a = shapes(tv.VisionTransformer(image_size=224, patch_size=16, num_layers=5, num_heads=2, hidden_dim=24, mlp_dim=96, num_classes=10))
    rules = [(r"^class_token", "cls_token"), (r"^conv_proj", "patch_embed.proj"), (r"^encoder\.pos_embedding", "pos_embed"),
             (r"^encoder\.layers\.encoder_layer_(\d+)", r"blocks.\1"), (r"ln_1", "norm1"), (r"ln_2", "norm2"),
             (r"self_attention\.in_proj_", "attn.qkv."), (r"self_attention\.out_proj", "attn.proj"), (r"mlp\.0\.", "mlp.fc1."),
             (r"mlp\.3\.", "mlp.fc2."), (r"^encoder\.ln", "norm"), (r"^heads\.head", "head")]
    both("vit_tv_timm", a, shapes(vit()), renamed(rules))


# timm's names of a ViT to those of mmpretrain.
MMPRETRAIN_VIT = [(r"^blocks\.(\d+)\.norm(\d)", r"backbone.layers.\1.ln\2"), (r"^blocks\.(\d+)\.mlp\.fc1", r"backbone.layers.\1.ffn.layers.0.0"),
                  (r"^blocks\.(\d+)\.mlp\.fc2", r"backbone.layers.\1.ffn.layers.1"), (r"^blocks", "backbone.layers"),
                  (r"^patch_embed\.proj", "backbone.patch_embed.projection"), (r"^norm", "backbone.ln1"), (r"^(cls_token|pos_embed)", r"backbone.\1"),
                  (r"^head", "head.layers.head")]


@pair
def vit_mm():
    """mmpretrain's names, by hand, with the wrapper of its files."""
    b = shapes(vit())
    conv = renamed(MMPRETRAIN_VIT)
    own = conv(dict(b))
    inverse = {next(iter(conv({k: 0}))): k for k in b}
    both("vit_mm_timm", own, b, lambda sd: {inverse[k]: v for k, v in sd.items()})
    # Swin of mmpretrain: stages, w_msa, ffn. The cells of the downsampling have another order, which names do not show.
    model = timm.models.swin_transformer.SwinTransformer(**SWIN)
    own = own_swin(model)
    rules = [(r"^layers", "backbone.stages"), (r"attn\.", "attn.w_msa."), (r"mlp\.fc1", "ffn.layers.0.0"), (r"mlp\.fc2", "ffn.layers.1"),
             (r"^patch_embed\.proj", "backbone.patch_embed.projection"), (r"^patch_embed\.norm", "backbone.patch_embed.norm"), (r"^norm\.", "backbone.norm3."),
             (r"^head\.", "head.fc.")]
    conv = renamed(rules)
    mm = conv(dict(own))
    hf = tf.SwinForImageClassification(tf.SwinConfig(embed_dim=24, depths=[2, 2, 6, 2], num_heads=[1, 2, 4, 8], num_labels=10))
    module = script("swin/convert_swin_timm_to_pytorch")
    inverse = {next(iter(conv({k: 0}))): k for k in own}
    both("swin_mm_hf", mm, shapes(hf), lambda sd: module.convert_state_dict({inverse[k]: v for k, v in sd.items()}, hf))


@pair
def teacher():
    """A file of self-distillation with two copies, of which the teacher is the source."""
    e = shapes(vit(num_classes=0))
    own = {}
    for who in ("student", "teacher"):
        own.update({"%s.backbone.%s" % (who, k): v for k, v in e.items()})
        own["%s.head.mlp.0.weight" % who], own["%s.head.mlp.0.bias" % who] = torch.zeros(48, 24), torch.zeros(48)
    both("dino_teacher_timm", own, e, renamed([(r"^teacher\.backbone\.", "")]))


@pair
def focalnet():
    config = tf.FocalNetConfig(embed_dim=16, depths=[2, 2, 6, 2], num_labels=10, focal_levels=[2, 2, 2, 2], use_conv_embed=False)
    hf = tf.FocalNetForImageClassification(config)
    b = shapes(hf)
    model = timm.models.focalnet.FocalNet(embed_dim=16, depths=(2, 2, 6, 2), num_classes=10, focal_levels=(2, 2, 2, 2))
    module = script("focalnet/convert_focalnet_to_hf_format")
    a = shapes(model)
    own = {}
    for k, v in a.items():
        k = re.sub(r"^stem\.", "patch_embed.", k)
        k = re.sub(r"^layers\.(\d)\.downsample", lambda m: "layers.%d.downsample" % (int(m[1]) - 1), k)
        k = k.replace("head.fc", "head")
        own[k] = v
    out = {}

    def convert(sd):
        out = {}
        for k, v in sd.items():
            out[module.rename_key(k)] = v.reshape(b[module.rename_key(k)].shape) if module.rename_key(k) in b else v
        return out

    both("focalnet_hf", own, b, convert)
    both("focalnet_ms_timm", own, a, filtered(timm.models.focalnet, model))


# ---- pairs that were made after the rules were complete and were not used for tuning


def timm_swin_own(sd):
    """timm's names of a Swin to the authors'."""
    return renamed([(r"^layers\.(\d)\.downsample", lambda m: "layers.%d.downsample" % (int(m[1]) - 1)), (r"head\.fc\.", "head.")])(sd)


@pair
def late_swin():
    """torchvision's Swin to timm's by hand; timm's to transformers' by way of the authors' names."""
    model = tv.SwinTransformer(patch_size=[4, 4], embed_dim=24, depths=[2, 2, 6, 2], num_heads=[1, 2, 4, 8], window_size=[7, 7], num_classes=10)
    ours = timm.models.swin_transformer.SwinTransformer(**SWIN)
    rules = [(r"^features\.0\.0", "patch_embed.proj"), (r"^features\.0\.2", "patch_embed.norm"),
             (r"^features\.([1357])\.(\d)", lambda m: "layers.%d.blocks.%s" % (int(m[1]) // 2, m[2])),
             (r"^features\.([246])\.", lambda m: "layers.%d.downsample." % (int(m[1]) // 2)), (r"mlp\.0", "mlp.fc1"), (r"mlp\.3", "mlp.fc2"),
             (r"^head\.", "head.fc.")]
    both("late_swin_tv_timm", shapes(model), shapes(ours), renamed(rules, [r"relative_position_index"]))
    hf = tf.SwinForImageClassification(tf.SwinConfig(embed_dim=24, depths=[2, 2, 6, 2], num_heads=[1, 2, 4, 8], num_labels=10))
    module = script("swin/convert_swin_timm_to_pytorch")
    both("late_swin_timm_hf", shapes(ours), shapes(hf), lambda sd: module.convert_state_dict(timm_swin_own(sd), hf))


@pair
def late_convnext():
    """torchvision's to timm's, and timm's to transformers'; by hand and by the script."""
    settings = [tv.convnext.CNBlockConfig(a, b, n) for a, b, n in ((8, 16, 3), (16, 32, 3), (32, 64, 9), (64, None, 3))]
    model = tv.ConvNeXt(settings, num_classes=10)
    ours = timm.models.convnext.ConvNeXt(depths=(3, 3, 9, 3), dims=(8, 16, 32, 64), num_classes=10, ls_init_value=1e-6)
    rules = [(r"^features\.0\.(\d)", r"stem.\1"), (r"^features\.([1357])\.(\d)", lambda m: "stages.%d.blocks.%s" % (int(m[1]) // 2, m[2])),
             (r"^features\.([246])\.(\d)", lambda m: "stages.%d.downsample.%s" % (int(m[1]) // 2, m[2])),
             (r"block\.0", "conv_dw"), (r"block\.2", "norm"), (r"block\.3", "mlp.fc1"), (r"block\.5", "mlp.fc2"), (r"layer_scale", "gamma"),
             (r"^classifier\.0", "head.norm"), (r"^classifier\.2", "head.fc")]
    b = shapes(ours)
    r = both("late_convnext_tv_timm", shapes(model), b,
             lambda sd: {k: v.reshape(b[k].shape) if k in b else v for k, v in renamed(rules)(sd).items()})
    back("late_convnext_timm_tv", shapes(model), b, *r)


@pair
def late_bit():
    model = timm.models.resnetv2.ResNetV2(layers=[2, 3, 3, 2], channels=(128, 256, 512, 1024), num_classes=10, stem_chs=32)
    config = tf.BitConfig(embedding_size=32, hidden_sizes=[128, 256, 512, 1024], depths=[2, 3, 3, 2], num_labels=10)
    module = script("bit/convert_bit_to_pytorch")
    both("late_bit_timm_hf", shapes(model), shapes(tf.BitForImageClassification(config)),
         lambda sd: {module.rename_key(k): v.squeeze() if "head" in k else v for k, v in sd.items()})


@pair
def late_vit():
    """MSN's file, with its wrapper and projection head; mmpretrain's to transformers'."""
    config = tf.ViTMSNConfig(**SMALL)
    own = {"module." + k: v for k, v in shapes(vit(num_classes=0)).items()}
    for i, (n, m) in enumerate(((48, 24), (48, 48), (12, 48))):
        own["module.fc.fc%d.weight" % (i + 1)], own["module.fc.fc%d.bias" % (i + 1)] = torch.zeros(n, m), torch.zeros(n)
    module = script("vit_msn/convert_msn_to_pytorch")
    both("late_msn_hf", own, shapes(tf.ViTMSNModel(config)), by_keys(module, config, base_model=True))
    b = shapes(vit())
    conv = renamed(MMPRETRAIN_VIT)
    inverse = {next(iter(conv({k: 0}))): k for k in b}
    config = tf.ViTConfig(**SMALL)
    module = script("vit/convert_vit_timm_to_pytorch")
    both("late_vit_mm_hf", conv(dict(b)), shapes(tf.ViTForImageClassification(config)),
         lambda sd: by_keys(module, config)({inverse[k]: v for k, v in sd.items()}))


@pair
def late_whisper():
    config = tf.WhisperConfig(d_model=24, encoder_layers=3, decoder_layers=4, encoder_attention_heads=2, decoder_attention_heads=2,
                              encoder_ffn_dim=96, decoder_ffn_dim=96, vocab_size=100, num_mel_bins=20, max_source_positions=30, max_target_positions=40,
                              pad_token_id=0, bos_token_id=0, eos_token_id=0)
    b = shapes(tf.WhisperModel(config))
    module = script("whisper/convert_openai_to_hf")
    rules = [(r"^(en|de)coder\.layers", r"\1coder.blocks"), (r"\.fc1", ".mlp.0"), (r"\.fc2", ".mlp.2"), (r"\.self_attn\.q_proj", ".attn.query"),
             (r"\.self_attn\.k_proj", ".attn.key"), (r"\.self_attn\.v_proj", ".attn.value"), (r"\.self_attn\.out_proj", ".attn.out"),
             (r"\.self_attn_layer_norm", ".attn_ln"), (r"\.encoder_attn\.q_proj", ".cross_attn.query"), (r"\.encoder_attn\.k_proj", ".cross_attn.key"),
             (r"\.encoder_attn\.v_proj", ".cross_attn.value"), (r"\.encoder_attn\.out_proj", ".cross_attn.out"), (r"\.encoder_attn_layer_norm", ".cross_attn_ln"),
             (r"blocks\.(\d+)\.final_layer_norm", r"blocks.\1.mlp_ln"), (r"encoder\.layer_norm\.", "encoder.ln_post."),
             (r"decoder\.layer_norm\.", "decoder.ln."), (r"embed_tokens", "token_embedding"), (r"encoder\.embed_positions\.weight", "encoder.positional_embedding"),
             (r"decoder\.embed_positions\.weight", "decoder.positional_embedding")]
    conv = renamed(rules)
    inverse = {next(iter(conv({k: 0}))): k for k in b}
    own = conv(dict(b))
    order = sorted(own, key=lambda k: ("decoder" in k, "positional" not in k, "ln" in k.split(".")[1], int(k.split(".")[2]) if "blocks" in k else -1, "mlp" in k))
    both("late_whisper_hf", {k: own[k] for k in order}, b, lambda sd: {inverse[k]: v for k, v in sd.items()})


@pair
def late_dpt():
    config = tf.DPTConfig(**SMALL, image_size=64, neck_hidden_sizes=[8, 12, 16, 16], fusion_hidden_size=20, backbone_out_indices=[0, 1, 2, 3])
    b = shapes(tf.DPTForDepthEstimation(config))
    module = script("dpt/convert_dpt_to_pytorch")
    v = {"pretrained.model." + k: x for k, x in shapes(vit(img_size=64)).items()}
    v.pop("pretrained.model.head.weight"), v.pop("pretrained.model.head.bias")
    own = dict(v)
    def convert(sd):
        out = {module.rename_key(k): x for k, x in sd.items()}
        for i in range(config.num_hidden_layers):
            w, bias = out.pop(f"dpt.encoder.layer.{i}.attn.qkv.weight"), out.pop(f"dpt.encoder.layer.{i}.attn.qkv.bias")
            for n, name in enumerate(("query", "key", "value")):
                out[f"dpt.encoder.layer.{i}.attention.attention.{name}.weight"] = w.chunk(3)[n]
                out[f"dpt.encoder.layer.{i}.attention.attention.{name}.bias"] = bias.chunk(3)[n]
        return out

    target = {k: x for k, x in b.items() if k.startswith("dpt.") and "neck" not in k}
    both("late_dpt_hf", own, target, convert)


@pair
def late_regnet():
    """timm's to transformers', by hand: both follow the forward pass."""
    a = meta(timm.create_model, "regnety_004", num_classes=10)
    config = tf.RegNetConfig(embedding_size=32, hidden_sizes=[48, 104, 208, 440], depths=[1, 3, 6, 6], groups_width=8, layer_type="y", num_labels=10)
    b = meta(tf.RegNetForImageClassification, config)
    rules = [(r"^stem\.conv", "regnet.embedder.embedder.convolution"), (r"^stem\.bn", "regnet.embedder.embedder.normalization"),
             (r"^s(\d)\.b(\d+)\.", lambda m: "regnet.encoder.stages.%d.layers.%d." % (int(m[1]) - 1, int(m[2]) - 1)),
             (r"conv([12])\.conv", lambda m: "layer.%d.convolution" % (int(m[1]) - 1)), (r"conv([12])\.bn", lambda m: "layer.%d.normalization" % (int(m[1]) - 1)),
             (r"se\.fc1", "layer.2.attention.0"), (r"se\.fc2", "layer.2.attention.2"), (r"conv3\.conv", "layer.3.convolution"), (r"conv3\.bn", "layer.3.normalization"),
             (r"downsample\.conv", "shortcut.convolution"), (r"downsample\.bn", "shortcut.normalization"), (r"^head\.fc", "classifier.1")]
    both("late_regnet_timm_hf", a, b, renamed(rules))


def main():
    for name in sys.argv[2:] or PAIRS:
        try:
            PAIRS[name]()
        except Exception as e:  # a pair that cannot be made is reported; the others go on
            import traceback

            traceback.print_exc(limit=-3)
            print(name, "FAILED", repr(e)[:200])


main()
