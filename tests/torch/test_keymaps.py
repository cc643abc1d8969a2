"""Applies the key maps in man/keymaps to random weights. The result equals what the target's own code makes of them, bit for bit,
and load_state_dict accepts it with strict=True."""

import warnings

import tap

torch = tap.need_torch(2, 0)
np = tap.need("numpy")
warnings.simplefilter("ignore")
import with_timm  # noqa: E402

try:
    timm = with_timm.timm()
except ImportError:
    tap.skip_all("this Python has no timm")
import timm.models.vision_transformer as vision_transformer  # noqa: E402

t = tap.Tap()
tmp = tap.scratch()
MAPS = tap.TOP / "man" / "keymaps"
SIZES = {"embed_dim": 24, "depth": 12, "num_heads": 3, "img_size": 32, "patch_size": 8, "num_classes": 7}


def mapped(name, source, *args):
    """Applies the map to source, as a file and through a pipe, and loads the result with torch."""
    tap.run("lnn-ckpt-adapt", "-s", MAPS / f"{name}.yaml", *args, "--root", "-o", tmp / "out.pth", source)
    piped = tap.run("lnn-ckpt-adapt", "-s", MAPS / f"{name}.yaml", *args, "--root", "--to", "torch",
                    stdin=source.read_bytes()).stdout
    t.ok(piped == (tmp / "out.pth").read_bytes(), f"{name}: a pipe gives the same bytes")
    return torch.load(tmp / "out.pth", weights_only=True)


def compare(name, got, expected):
    t.eq(sorted(got), sorted(expected), f"{name}: the names are the target's")
    t.eq([k for k in expected if k in got and not tap.same(got[k], expected[k])], [], f"{name}: the values are equal bit for bit")


def model_of():
    torch.manual_seed(1)
    model = timm.create_model("vit_tiny_patch16_224", **SIZES)
    for p in model.parameters():
        torch.nn.init.normal_(p)
    return model


def jax_arrays(rng, depth=SIZES["depth"], dim=24, heads=3, patch=8, tokens=17, classes=7):
    """Random arrays with the names and shapes of the official .npz."""
    shapes = {"cls": (1, 1, dim), "embedding/kernel": (patch, patch, 3, dim), "embedding/bias": (dim,),
              "Transformer/posembed_input/pos_embedding": (1, tokens, dim), "Transformer/encoder_norm/scale": (dim,),
              "Transformer/encoder_norm/bias": (dim,), "head/kernel": (dim, classes), "head/bias": (classes,),
              "pre_logits/kernel": (dim, dim), "pre_logits/bias": (dim,)}
    for i in range(depth):
        block = f"Transformer/encoderblock_{i}/"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            shapes |= {f"{block}{norm}/scale": (dim,), f"{block}{norm}/bias": (dim,)}
        for part in ("query", "key", "value"):
            at = f"{block}MultiHeadDotProductAttention_1/{part}"
            shapes |= {f"{at}/kernel": (dim, heads, dim // heads), f"{at}/bias": (heads, dim // heads)}
        shapes |= {f"{block}MultiHeadDotProductAttention_1/out/kernel": (heads, dim // heads, dim),
                   f"{block}MultiHeadDotProductAttention_1/out/bias": (dim,)}
        for layer, (a, b) in enumerate(((dim, 4 * dim), (4 * dim, dim))):
            at = f"{block}MlpBlock_3/Dense_{layer}"
            shapes |= {f"{at}/kernel": (a, b), f"{at}/bias": (b,)}
    return {k: rng.standard_normal(shape).astype("f4") for k, shape in shapes.items()}


with t.part("vit_jax-to-timm"):
    for save in (np.savez, np.savez_compressed):
        save(tmp / "vit.npz", **jax_arrays(np.random.default_rng(2)))
        model = model_of()
        vision_transformer._load_weights(model, str(tmp / "vit.npz"))  # timm's own loader
        compare("vit_jax-to-timm", mapped("vit_jax-to-timm", tmp / "vit.npz"), model.state_dict())
    torch.save(model.state_dict(), tmp / "timm.pth")
    model.load_state_dict(mapped("vit_jax-to-timm", tmp / "vit.npz", "-m", tmp / "timm.pth", "--strict"), strict=True)
    t.ok(True, "vit_jax-to-timm: load_state_dict accepts the result with strict=True")

HF = [("cls_token", "vit.embeddings.cls_token"), ("pos_embed", "vit.embeddings.position_embeddings"),
      ("patch_embed.proj.", "vit.embeddings.patch_embeddings.projection."), ("norm.", "vit.layernorm."), ("head.", "classifier.")]
HF_BLOCK = [("attn.proj.", "attention.output.dense."), ("norm1.", "layernorm_before."), ("norm2.", "layernorm_after."),
            ("mlp.fc1.", "intermediate.dense."), ("mlp.fc2.", "output.dense.")]


def hugging_face(state):
    """timm's state dict under the names of transformers."""
    out = {}
    for name, tensor in state.items():
        if not name.startswith("blocks."):
            old, new = next(pair for pair in HF if name.startswith(pair[0]))
            out[new + name[len(old):]] = tensor
            continue
        _, i, rest = name.split(".", 2)
        layer = f"vit.encoder.layer.{i}."
        if rest.startswith("attn.qkv."):
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3)):
                out[f"{layer}attention.attention.{part}.{rest[9:]}"] = piece.clone()
        else:
            old, new = next(pair for pair in HF_BLOCK if rest.startswith(pair[0]))
            out[layer + new + rest[len(old):]] = tensor
    return out


with t.part("hf-vit-to-timm"):
    model = model_of()
    source = hugging_face(model.state_dict())
    source["vit.pooler.dense.weight"] = torch.ones(24, 24)
    torch.save(source, tmp / "hf.pth")
    compare("hf-vit-to-timm", mapped("hf-vit-to-timm", tmp / "hf.pth"), model.state_dict())
    try:
        from transformers import ViTConfig, ViTForImageClassification
    except ImportError:
        t.skip("this Python has no transformers")
    else:
        torch.manual_seed(3)
        hf = ViTForImageClassification(ViTConfig(hidden_size=24, num_hidden_layers=12, num_attention_heads=3, image_size=32,
                                                 intermediate_size=96, patch_size=8, num_labels=7)).eval()
        torch.save(hf.state_dict(), tmp / "hf.pth")
        model.load_state_dict(mapped("hf-vit-to-timm", tmp / "hf.pth"), strict=True)
        image = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            for block in [*model.blocks, model]:
                for norm in ("norm1", "norm2", "norm"):
                    if hasattr(getattr(block, norm, None), "eps"):
                        getattr(block, norm).eps = 1e-12
            difference = (model.eval()(image) - hf(image).logits).abs().max()
        t.ok(difference < 1e-4, f"hf-vit-to-timm: both models compute the same logits ({difference:.1e})")


def nano_gpt(layers=2, width=12, words=11, length=8):
    """A state dict with nanoGPT's names, Linear layers and a tied output; and Hugging Face's of the same model, with Conv1D."""
    expected, source = {}, {}
    shapes = {"ln_1.weight": (width,), "ln_1.bias": (width,), "ln_2.weight": (width,), "ln_2.bias": (width,),
              "attn.c_attn": (3 * width, width), "attn.c_proj": (width, width), "mlp.c_fc": (4 * width, width),
              "mlp.c_proj": (width, 4 * width)}
    for name, shape in {"wte.weight": (words, width), "wpe.weight": (length, width), "ln_f.weight": (width,),
                        "ln_f.bias": (width,)}.items():
        source[name] = expected[f"transformer.{name}"] = torch.randn(shape)
    expected["lm_head.weight"] = expected["transformer.wte.weight"]
    for i in range(layers):
        for name, shape in shapes.items():
            at = f"h.{i}.{name}"
            if len(shape) == 1:
                source[at] = expected[f"transformer.{at}"] = torch.randn(shape)
                continue
            linear = torch.nn.Linear(shape[1], shape[0])
            expected[f"transformer.{at}.weight"] = linear.weight.detach()
            source[f"{at}.weight"] = linear.weight.detach().t().contiguous()
            source[f"{at}.bias"] = expected[f"transformer.{at}.bias"] = linear.bias.detach()
        source[f"h.{i}.attn.bias"] = torch.ones(1, 1, length, length).tril()
        source[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    return source, expected


with t.part("gpt2-to-nanogpt"):
    source, expected = nano_gpt()
    torch.save(source, tmp / "gpt2.pth")
    compare("gpt2-to-nanogpt", mapped("gpt2-to-nanogpt", tmp / "gpt2.pth"), expected)
    try:
        from transformers import GPT2Config, GPT2Model
    except ImportError:
        t.skip("this Python has no transformers")
    else:
        torch.manual_seed(4)
        gpt = GPT2Model(GPT2Config(vocab_size=11, n_positions=8, n_embd=12, n_layer=1, n_head=2)).eval()
        torch.save(gpt.state_dict(), tmp / "gpt2.pth")
        got = mapped("gpt2-to-nanogpt", tmp / "gpt2.pth")
        t.eq(sorted(got), sorted(k for k in expected if ".h.1." not in k), "gpt2-to-nanogpt: the test has the names of transformers' model")
        x = torch.randn(3, 12)
        linear = torch.nn.functional.linear(x, got["transformer.h.0.mlp.c_fc.weight"], got["transformer.h.0.mlp.c_fc.bias"])
        t.ok(torch.allclose(linear, gpt.h[0].mlp.c_fc(x), atol=1e-6), "gpt2-to-nanogpt: a Linear layer computes the same as the Conv1D")

t.done()
