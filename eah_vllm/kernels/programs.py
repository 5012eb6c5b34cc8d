# Triton's functions have no types that mypy knows.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

"""The programs that `launch` starts on a GPU: each works on one tile of rows, or of image tokens, of one head."""

import triton
import triton.language as tl


@triton.jit
def _from_row(matrix, row, token_stride):
    """Return the matrix from a row on. This takes 64 bits, so that places in a tile need 32: registers are scarce."""
    return matrix + tl.cast(row, tl.int64) * token_stride


@triton.jit
def _load_rows(matrix, first, stop, token_stride, ROWS: tl.constexpr, WIDTH: tl.constexpr, PADDED_WIDTH: tl.constexpr):
    """Load rows `first` to `first + ROWS` of a matrix of `stop` rows, with zeros beyond these and beyond `WIDTH`."""
    row = tl.arange(0, ROWS)
    column = tl.arange(0, PADDED_WIDTH)
    inside = (first + row < stop)[:, None] & (column < WIDTH)[None, :]
    tile = _from_row(matrix, first, token_stride) + row[:, None] * token_stride + column[None, :]
    return tl.load(tile, mask=inside, other=0.0)


@triton.jit
def _dot(left, right, sums, UPCAST: tl.constexpr):
    """Return `sums + left @ right` in float32."""
    if UPCAST:
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, sums, input_precision="ieee")


@triton.jit
def _softmax_step(queries, keys, first, column, scale, largest, total, UPCAST: tl.constexpr):
    """Compute one tile of the online softmax, of rows from `first` and columns from `column`, in base 2.

    It returns the exponentials of the tile, the factor for earlier tiles, and the rows' new maximum and sum.
    """
    ROWS: tl.constexpr = queries.shape[0]
    COLUMNS: tl.constexpr = keys.shape[0]
    scores = _dot(queries, tl.trans(keys), tl.zeros([ROWS, COLUMNS], tl.float32), UPCAST)
    seen = (column + tl.arange(0, COLUMNS))[None, :] <= (first + tl.arange(0, ROWS))[:, None]
    scores = tl.where(seen, scores, float("-inf"))
    # The maximum is finite from the first tile on: every row, also one past the prompt, sees column 0.
    new_largest = tl.maximum(largest, tl.max(scores, 1) * scale)
    exponentials = tl.exp2(scores * scale - new_largest[:, None])
    shrink = tl.exp2(largest - new_largest)
    return exponentials, shrink, new_largest, total * shrink + tl.sum(exponentials, 1)


# Strides that depend on the number of tokens are not specialized: each new class of numbers would need a compilation.
@triton.jit(do_not_specialize=["statistics_stride"])
def row_log_sum_exp(
    query, key, statistics, row_start, length, row_blocks, scale, statistics_stride,
    query_token_stride, query_head_stride, key_token_stride, key_head_stride,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, PADDED_DIM: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Set `statistics[head, row] = log2(sum over columns <= row of 2 ** score)` for one block of rows of one head."""
    prompt = tl.load(row_blocks + 2 * tl.program_id(0))
    first = tl.load(row_blocks + 2 * tl.program_id(0) + 1)
    head = tl.program_id(1)
    start = tl.load(row_start + prompt)
    stop = tl.load(length + prompt)
    query = _from_row(query, start, query_token_stride) + head * query_head_stride
    key = _from_row(key, start, key_token_stride) + head // GROUP * key_head_stride
    queries = _load_rows(query, first, stop, query_token_stride, ROWS, HEAD_DIM, PADDED_DIM)
    largest = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for column in range(0, tl.minimum(first + ROWS, stop), COLUMNS):
        keys = _load_rows(key, column, stop, key_token_stride, COLUMNS, HEAD_DIM, PADDED_DIM)
        _, _, largest, total = _softmax_step(queries, keys, first, column, scale, largest, total, UPCAST)
    row = first + tl.arange(0, ROWS)
    statistics += head.to(tl.int64) * statistics_stride + start
    tl.store(statistics + row, largest + tl.log2(total), mask=row < stop)


@triton.jit(do_not_specialize=["statistics_stride", "received_stride"])
def column_sums(
    query, key, statistics, received, row_start, length, columns, column_blocks, scale,
    statistics_stride, received_stride, query_token_stride, query_head_stride, key_token_stride, key_head_stride,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, PADDED_DIM: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Sum what later rows give to one block of image tokens in one head: keep the keys and go over the queries."""
    block = column_blocks + 3 * tl.program_id(0)
    prompt = tl.load(block)
    begin = tl.load(block + 1)
    end = tl.load(block + 2)
    head = tl.program_id(1)
    start = tl.load(row_start + prompt)
    stop = tl.load(length + prompt)
    query = _from_row(query, start, query_token_stride) + head * query_head_stride
    key = _from_row(key, start, key_token_stride) + head // GROUP * key_head_stride
    statistics += head.to(tl.int64) * statistics_stride + start
    index = begin + tl.arange(0, COLUMNS)
    column = tl.load(columns + index, mask=index < end, other=0)
    dim = tl.arange(0, PADDED_DIM)
    inside = (index < end)[:, None] & (dim < HEAD_DIM)[None, :]
    keys = tl.load(_from_row(key, column[:, None], key_token_stride) + dim[None, :], mask=inside, other=0.0)
    sums = tl.zeros([COLUMNS], tl.float32)
    # Positions ascend, so rows up to the block's first column give nothing to any of its columns.
    for first in range(tl.load(columns + begin) + 1, stop, ROWS):
        queries = _load_rows(query, first, stop, query_token_stride, ROWS, HEAD_DIM, PADDED_DIM)
        scores = _dot(keys, tl.trans(queries), tl.zeros([COLUMNS, ROWS], tl.float32), UPCAST)
        row = first + tl.arange(0, ROWS)
        # Infinity makes rows past the prompt give nothing.
        normalizer = tl.load(statistics + row, mask=row < stop, other=float("inf"))
        attention = tl.exp2(scores * scale - normalizer[None, :])
        sums += tl.sum(tl.where(row[None, :] > column[:, None], attention, 0.0), 1)
    tl.store(received + head.to(tl.int64) * received_stride + index, sums, mask=index < end)


@triton.jit
def mix_values(
    query, key, query_head, key_head, broadcast, value, output, row_start, key_start, length, row_blocks, scale,
    query_token_stride, query_head_stride, key_token_stride, key_head_stride,
    value_token_stride, value_head_stride, output_token_stride, output_head_stride,
    GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, PADDED_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr, ALL_VALUES: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Run FlashAttention with one query and one key head on `WIDTH` numbers of all value heads, placed in a row."""
    prompt = tl.load(row_blocks + 2 * tl.program_id(0))
    if tl.load(broadcast + prompt) == 0:
        return
    first = tl.load(row_blocks + 2 * tl.program_id(0) + 1)
    start = tl.load(row_start + prompt)
    first_key = tl.load(key_start + prompt)
    stop = tl.load(length + prompt)
    query = _from_row(query, start, query_token_stride) + tl.load(query_head + prompt) * query_head_stride
    key = _from_row(key, first_key, key_token_stride) + tl.load(key_head + prompt) * key_head_stride
    width = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    value_head = width // VALUE_DIM
    dim = width % VALUE_DIM
    value = _from_row(value, first_key, value_token_stride) + (value_head * value_head_stride + dim)[None, :]
    queries = _load_rows(query, first, stop, query_token_stride, ROWS, HEAD_DIM, PADDED_DIM)
    largest = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, WIDTH], tl.float32)
    for column in range(0, tl.minimum(first + ROWS, stop), COLUMNS):
        keys = _load_rows(key, column, stop, key_token_stride, COLUMNS, HEAD_DIM, PADDED_DIM)
        exponentials, shrink, largest, total = _softmax_step(
            queries, keys, first, column, scale, largest, total, UPCAST
        )
        seen = tl.arange(0, COLUMNS)
        inside = (column + seen < stop)[:, None] & (width < ALL_VALUES)[None, :]
        tile = _from_row(value, column, value_token_stride) + seen[:, None] * value_token_stride
        values = tl.load(tile, mask=inside, other=0.0)
        sums = _dot(exponentials.to(values.dtype), values, sums * shrink[:, None], UPCAST)
    row = tl.arange(0, ROWS)
    inside = (first + row < stop)[:, None] & (width < ALL_VALUES)[None, :]
    output = _from_row(output, start + first, output_token_stride) + row[:, None] * output_token_stride + dim[None, :]
    mixed = (sums / total[:, None]).to(output.dtype.element_ty)
    for member in range(GROUP):
        head = value_head * GROUP + member
        tl.store(output + (head * output_head_stride)[None, :], mixed, mask=inside)
