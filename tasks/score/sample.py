"""Which shards stand for a data set where all of its images would take too long."""

from tasks.store.tables import Store, TableRef

# From twice as many labelled images on, a half of the shards is taken, a quarter, an eighth ...
LEAST_SAMPLED = 100_000


def count_sampled_shards(store: Store, images: TableRef, shards: int) -> int:
    """Count the shards, from the first, that stand for all of them; at least one.

    The leading bits of an image's digest decide its shard, and shards are in their order: the first
    ones hold the images whose digests begin with some zero bits, which is as good as drawn. They
    hold 100,000 to 200,000 labelled images, or all where there are fewer; the same ones whatever
    the size of a shard, up to 100,000.
    """
    labels = store.read(images, ["class_id"])["class_id"]
    halvings = ((len(labels) - labels.null_count) // LEAST_SAMPLED or 1).bit_length() - 1
    return max(1, shards >> halvings)
