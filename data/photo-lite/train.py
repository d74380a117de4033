"""Train photo-lite's head from words alone: `python data/photo-lite/train.py`.

The ImageNet classifier of the image tower says where its 1000 classes lie among its features. The
text tower learns to map the names and definitions of a class to the same place. No image is used.
The formulas and the figures are in data/photo-lite/README.md.
"""

import argparse
import math
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from open_clip import IMAGENET_CLASSNAMES
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize
from transformers import AutoModel, AutoTokenizer

from tasks.embed.photo_lite import (
    HEAD_PATH,
    IMAGE_SHA256,
    TEXT_SHA256,
    check_file,
    find_weight_files,
    load_image_tower,
)
from tasks.store.digest import file_digest

SEED = 0
THREADS = 2  # the order of floating-point sums depends on it, and with it the last bits of the head
# Both are in open_clip_config.json too.
EMBEDDING_DIM = 512  # as ViT-B-32; the 1000 classifier rows keep 90% of their energy in it
CONTEXT_LENGTH = 77  # CLIP's own: LLM sentences have 15-30 tokens, definitions rarely above 50
TEXT_DIM = 384
# open_clip's own choice for `hf_proj_type: mlp`, so that the trained head fits into its module
HIDDEN_DIM = (TEXT_DIM + EMBEDDING_DIM) // 2

# Teacher: kernel ridge regression. Width and penalty were chosen among 0.3-4 and 0.5-2 by the rate
# at which held-out classifier rows find the texts of their class.
KERNEL_GAMMA = 2.0
KERNEL_PENALTY = 0.5

# Student: enough steps for some 28 passes over the 53,700 texts.
STEPS = 1500
BATCH_SIZE = 1024
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2
# MiniLM's pooled values are near 0.3, where GELU is almost linear; 4 moves them out of that range.
FIRST_LAYER_GAIN = 4.0

# Each is filled with a class's name, all its WordNet lemmas, and its WordNet definition.
TEACHER_TEMPLATES = (
    "a photo of a {name}.",
    "{lemmas}",
    "{definition}",
    "{Name} is {definition}.",
)
STUDENT_TEMPLATES = (
    *TEACHER_TEMPLATES,
    "{name}",
    "a photo of a {lemma}.",
    "{Name} looks like {definition}.",
    "a photo of a {name}, {definition}.",
    "The photo shows {definition}.",
    "{lemmas}: {definition}",
)


class Concept(NamedTuple):
    """One WordNet synset: its name as a photograph's label, its lemmas, its definition."""

    name: str
    lemmas: str
    definition: str

    def fill(self, template: str) -> str:
        """Fill a template with this concept; `{Name}` is the name with its article."""
        article = "An" if self.name[0].lower() in "aeiou" else "A"
        return template.format(
            name=self.name,
            Name=f"{article} {self.name}",
            lemma=self.lemmas.split(",")[-1].strip(),
            lemmas=self.lemmas,
            definition=self.definition,
        )


def list_imagenet_concepts() -> list[Concept]:
    """Return the 1000 classes in the order of the classifier's rows, with open_clip's names."""
    lemmas, definitions = _read_synset_table("lemma"), _read_synset_table("definition")
    synsets = _read_timm_lines("imagenet_synsets.txt")
    return [
        Concept(name, lemmas[synset], definitions[synset])
        for synset, name in zip(synsets, IMAGENET_CLASSNAMES, strict=True)
    ]


def list_unlabelled_texts() -> list[str]:
    """Return lemmas and definitions of timm's 21,844 synsets; most have no classifier row."""
    return [*_read_synset_table("lemma").values(), *_read_synset_table("definition").values()]


def expected_feature(gamma: Tensor, beta: Tensor) -> Tensor:
    """Compute the mean of a pooled feature of the image tower from its last batch norm alone.

    A channel leaves that batch norm as N(beta, gamma^2) and then meets relu6, so its mean is
    beta (F(c) - F(a)) + |gamma| (f(a) - f(c)) + 6 (1 - F(c)) with a = -beta / |gamma|,
    c = (6 - beta) / |gamma|, and F, f the standard normal distribution and density.
    Shapes: [channels] each; the result lies in [0, 6].
    """
    sigma = gamma.abs().clamp_min(1e-9)
    lower, upper = -beta / sigma, (6 - beta) / sigma
    mass = torch.special.ndtr(upper) - torch.special.ndtr(lower)
    edges = (torch.exp(-(lower**2) / 2) - torch.exp(-(upper**2) / 2)) / math.sqrt(2 * math.pi)
    mean: Tensor = beta * mass + sigma * edges + 6 * torch.special.ndtr(-upper)
    return mean


def derive_image_head(classifier: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the image projection and the places to which it maps the classes.

    The centred classifier rows lose their part along the mean feature; the projection's rows are
    the leading right-singular vectors of what is left, hence orthonormal and orthogonal to the
    mean feature. Shapes: classifier [1000, channels], mean [channels] -> projection
    [EMBEDDING_DIM, channels], targets [1000, EMBEDDING_DIM] of unit length.
    """
    direction = normalize(mean, dim=0)
    rows = classifier - classifier.mean(0)
    rows = rows - (rows @ direction)[:, None] * direction
    projection = torch.linalg.svd(rows, full_matrices=False).Vh[:EMBEDDING_DIM]
    # A singular vector's sign is arbitrary; let its largest entry be positive everywhere.
    largest = projection.abs().argmax(1, keepdim=True)
    projection = projection * projection.gather(1, largest).sign()
    return projection, normalize(normalize(rows, dim=1) @ projection.T, dim=1)


class Teacher:
    """Kernel ridge regression from text embeddings to places in the shared space.

    K(s, t) = exp(-gamma |s - t|^2) on unit vectors, coefficients (K + penalty I)^-1 Y. Closed
    form, but it needs all training texts, which an open_clip model cannot hold.
    """

    def __init__(self, texts: Tensor, targets: Tensor) -> None:
        self._texts = normalize(texts.double(), dim=1)
        kernel = self._kernel(self._texts) + KERNEL_PENALTY * torch.eye(len(texts)).double()
        self._coefficients = torch.linalg.solve(kernel, targets)

    def __call__(self, texts: Tensor) -> Tensor:
        """Predict places [n, EMBEDDING_DIM], fp32, from text embeddings [n, TEXT_DIM]."""
        parts = torch.split(normalize(texts.double(), dim=1), 4096)  # bounds the kernel to 130 MB
        return torch.cat([self._kernel(part) @ self._coefficients for part in parts]).float()

    def _kernel(self, texts: Tensor) -> Tensor:
        return torch.exp(-2 * KERNEL_GAMMA * (1 - texts @ self._texts.T))


def train_student(texts: Tensor, places: Tensor) -> nn.Sequential:
    """Fit the two-layer text projection to the directions that the teacher predicts.

    Loss: 1 - mean cosine, because only directions count in the shared space. AdamW with one
    learning rate cycle. Shapes: texts [n, TEXT_DIM], unnormalised as open_clip will feed them;
    places [n, EMBEDDING_DIM].
    """
    student = nn.Sequential(
        nn.Linear(TEXT_DIM, HIDDEN_DIM, bias=False),
        nn.GELU(),
        nn.Linear(HIDDEN_DIM, EMBEDDING_DIM, bias=False),
    )
    with torch.no_grad():
        next(student.parameters()).mul_(FIRST_LAYER_GAIN)
    optimizer = torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS)
    for step in range(STEPS):
        batch = torch.randint(len(texts), (BATCH_SIZE,))
        loss = 1 - cosine_similarity(student(texts[batch]), places[batch]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            _print_line(f"step {step}: loss {loss.item():.4f}")
    return student


@torch.inference_mode()
def embed_texts(texts: list[str], folder: Path) -> Tensor:
    """Compute MiniLM's mean-pooled embeddings [n, TEXT_DIM], unnormalised, in the texts' order."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # batches of little padding
    result = torch.empty(len(texts), TEXT_DIM)
    for start in range(0, len(order), 128):
        chosen = order[start : start + 128]
        tokens = tokenizer(
            [texts[i] for i in chosen],
            padding=True,
            truncation=True,
            max_length=CONTEXT_LENGTH,
            return_tensors="pt",
        )
        mask = tokens["attention_mask"].unsqueeze(-1)
        result[chosen] = (model(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
    return result


def train() -> dict[str, Tensor]:
    """Return the head's tensors, fp16, under the names they have in the open_clip model.

    Raises InputError for a missing or altered weight file.
    """
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    weights = find_weight_files()
    check_file(weights.image, IMAGE_SHA256)
    check_file(weights.text, TEXT_SHA256)
    tower = load_image_tower(weights.image).state_dict()
    mean = expected_feature(tower["bn2.weight"].double(), tower["bn2.bias"].double())
    projection, targets = derive_image_head(tower["classifier.weight"].double(), mean)

    concepts = list_imagenet_concepts()
    labelled = [concept.fill(t) for t in STUDENT_TEMPLATES for concept in concepts]
    _print_line("embedding the training texts, the longest part ...")
    texts = embed_texts([*labelled, *list_unlabelled_texts()], weights.text.parent).clone()
    count = len(TEACHER_TEMPLATES)  # the student's templates start with the teacher's
    teacher = Teacher(texts[: count * len(concepts)], targets.repeat(count, 1))
    student = train_student(texts, teacher(texts))
    head = {f"text.proj.{name}": tensor for name, tensor in student.state_dict().items()}
    head["visual.head.proj.weight"] = projection
    return {name: tensor.half().contiguous() for name, tensor in head.items()}


def main() -> None:
    """Train and write the head; print its digest, which photo_lite.py must name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HEAD_PATH)
    output: Path = parser.parse_args().output
    head = train()
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        save_file(head, Path(folder) / output.name)
        (Path(folder) / output.name).chmod(0o644)  # safetensors writes for its owner alone
        (Path(folder) / output.name).replace(output)
    _print_line(f"{output}: HEAD_SHA256 = {file_digest(output)}")


def _read_timm_lines(name: str) -> list[str]:
    return (files("timm") / "data" / "_info" / name).read_text(encoding="utf-8").splitlines()


def _read_synset_table(kind: str) -> dict[str, str]:
    """Map each synset's identifier to its lemmas or its definition."""
    lines = _read_timm_lines(f"imagenet_synset_to_{kind}.txt")
    return dict(line.split("\t", 1) for line in lines)


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
