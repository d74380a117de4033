"""The texts of `wca datasets`: every named data set, its protocol, and whether it is here."""

from pathlib import Path

from tasks.datasets.named.cards import NamedCard, data_root, find_card, named_cards
from tasks.runtime.errors import InputError, one_line


def overview(root: Path | None) -> list[dict[str, str]]:
    """One row of texts per named data set; those of the published tables come first."""
    base = data_root(root)
    return [
        {
            "name": card.name,
            "images": f"{card.image_count:,}",
            "classes": str(card.class_count),
            "size": card.size,
            "alpha": str(card.preset.alpha),
            "crops": f"{card.preset.crops} of {card.preset.pool}",
            "templates": str(len(card.prompts())),
            "found": "no" if card.locate(base) is None else "yes",
            "layout": card.layout[0],
            "licence": card.licence,
        }
        for card in named_cards()
    ]


def preset_text(card: NamedCard) -> str:
    """The protocol of a card in one line."""
    preset = card.preset
    templates = len(card.prompts())
    return (
        f"alpha {preset.alpha}, beta {preset.beta}, {preset.crops} of {preset.pool} crops, "
        f"{preset.runs} runs, {templates} template{'s' if templates > 1 else ''}, top-1"
    )


def details(name: str, root: Path | None) -> str:
    """The whole card, with the folder of the data set, or the expected and existing files."""
    card = find_card(name)
    base = data_root(root)
    place = card.locate(base)
    note = f"{card.note}\n" if card.note else ""
    return (
        f"{card.title}: {card.image_count:,} images of {card.class_count} classes, {card.size}\n"
        f"Licence: {card.licence}\nSplits: {', '.join(card.splits)} (the first by default)\n"
        f"Preset: {preset_text(card)}\n{note}"
        + (f"Found: {place}" if place else f"Not found.\n{card.tree(base)}")
    )


def download(name: str, root: Path | None) -> Path:
    """Download a data set below the data root with torchvision, and return its folder.

    Raises InputError where it cannot be downloaded, which says what to do instead.
    """
    card = find_card(name)
    base = data_root(root)
    if (place := card.locate(base)) is not None:
        return place
    if card.torchvision is None and card.archive is None:
        raise InputError(f"{card.title} cannot be downloaded by a program: {card.get}")
    from torchvision import datasets
    from torchvision.datasets.utils import download_and_extract_archive

    base.mkdir(parents=True, exist_ok=True)
    try:
        if card.archive is not None:
            url, md5 = card.archive
            download_and_extract_archive(url, str(base), md5=md5)
        elif card.torchvision is not None:
            source = card.torchvision
            (base / source.below).mkdir(exist_ok=True)
            getattr(datasets, source.name)(
                str(base / source.below), download=True, **source.options
            )
    except Exception as error:  # networks and archives raise many types
        reason = one_line(error, None)
        raise InputError(f"{card.title} could not be downloaded: {reason}.") from error
    place = card.locate(base)
    if place is None:
        raise InputError(f"{card.title} was downloaded, but has another layout.\n{card.tree(base)}")
    return place
