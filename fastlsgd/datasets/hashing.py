"""Sparse rows in hashed columns: words, pairs of words and groups of letters, counted; columns of a table, signed."""

import numpy as np

_BITS = 18
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64


def _span_hashes(codes):
    """Return hash(starts, ends), the hashes of spans of codes, uint64; it depends on the span's text only.

    Polynomial in _BASE modulo 2^64 (the wrap-around of uint64): one prefix sum serves spans of every length.
    """

    def powers(base):
        return np.cumprod(np.full(len(codes), base, np.uint64)) * np.uint64(pow(base, -1, 2**64))

    prefix = np.concatenate([np.zeros(1, np.uint64), np.cumsum(codes.astype(np.uint64) * powers(_BASE))])
    back = np.append(powers(pow(_BASE, -1, 2**64)), np.uint64(0))
    return lambda starts, ends: (prefix[ends] - prefix[starts]) * back[starts]


def _hashed_csr(rows, hashes, n_rows):
    """Return CSR (n_rows, 2^18) of counts c as sqrt(c), rows of length 1; collisions add up."""
    from scipy.sparse import csr_matrix

    mixed = (hashes ^ (hashes >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    keys = np.sort(rows.astype(np.int64) << _BITS | (mixed >> np.uint64(64 - _BITS)).astype(np.int64))
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(np.append(starts, len(keys)))
    keys = keys[starts]
    # The sum of squares of sqrt(c) in a row is the number of its tokens.
    n_tokens = np.bincount(rows, minlength=n_rows)
    data = np.sqrt(counts / n_tokens[keys >> _BITS]).astype(np.float32)
    indptr = np.searchsorted(keys, np.arange(n_rows + 1) << _BITS).astype(np.int32)
    return csr_matrix((data, (keys & (2**_BITS - 1)).astype(np.int32), indptr), shape=(n_rows, 2**_BITS))


def hash_words(words):
    """Return CSR of the letter n-grams, n = 2 .. 5, of words whose two ends count as a letter."""
    codes = np.frombuffer(("\n" + "\n".join(words) + "\n").encode("utf-32-le"), np.uint32)
    is_end = codes == 10
    ends, row_of = np.flatnonzero(is_end), np.cumsum(is_end) - 1
    last = np.append(ends, 0)[row_of + 1]  # where the word that holds a position ends
    hashes, rows, found = _span_hashes(codes), [], []
    for n in range(2, 6):
        starts = np.flatnonzero(last - np.arange(len(codes)) >= n - 1)
        rows.append(row_of[starts])
        found.append(hashes(starts, starts + n))
    return _hashed_csr(np.concatenate(rows), np.concatenate(found), len(words))


def hash_text(texts):
    """Return CSR of the words, and of the pairs of neighbouring words, of texts in lower case.

    The end of a text counts as a word in pairs: how a definition begins tells a noun from a verb.
    """
    codes = np.frombuffer(("\n " + " \n ".join(texts).lower() + " \n").encode(), np.uint8)
    letters = np.zeros(256, bool)
    letters[list(b"\n0123456789abcdefghijklmnopqrstuvwxyz")] = letters[128:] = True
    edges = np.diff(letters[codes].astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    is_end = codes == 10
    rows, is_word = np.cumsum(is_end)[starts] - 1, ~is_end[starts]
    single = _span_hashes(codes)(starts, ends)
    pair = single[:-1] * np.uint64(3) + single[1:] * np.uint64(5)
    rows = np.concatenate([rows[is_word], rows[:-1]])
    return _hashed_csr(rows, np.concatenate([single[is_word], pair]), len(texts))


def in_chunks(hash_, texts, size):
    """Return the CSR of all texts, hashed `size` texts at a time to bound the memory."""
    from scipy.sparse import vstack

    return vstack([hash_(texts[i : i + size]) for i in range(0, len(texts), size)], format="csr")


def fold_columns(X, n_columns):
    """Return CSR X with each of its columns added to one of n_columns drawn at random (seed 0), with either sign."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    signs, to = rng.choice([-1.0, 1.0], X.shape[1]), rng.integers(0, n_columns, X.shape[1])
    table = csr_matrix((signs.astype(X.dtype), (np.arange(X.shape[1]), to)), (X.shape[1], n_columns))
    return (X @ table).tocsr()
