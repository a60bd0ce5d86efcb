// What convolutions over images share: reading along a row of the input.

// A pixel of the row that starts at this texel and has so many; zeros beside it.
fn load(start: i32, column: i32, width: u32) -> vec4<f32> {
    if !PADDED {
        return load_input(u32(start + column));
    }
    let texel = load_input(u32(max(start + column, 0)));
    return select(vec4<f32>(), texel, u32(column) < width);
}

// The n-th tap of a row that is looked at: for stride 2 first the even ones, then the odd ones, so that each sees the pixels
// of the one before it, moved by one.
fn tap(n: u32) -> u32 {
    let evens = (KERNEL_WIDTH + 1u) / 2u;
    if STRIDE_X != 2u || DILATION_X != 1u || n < evens {
        return select(n, 2u * n, STRIDE_X == 2u && DILATION_X == 1u);
    }
    return 2u * (n - evens) + 1u;
}

// Whether the n-th tap sees the pixels of the one before it, moved by one.
fn slides(n: u32) -> bool {
    return n > 0u && DILATION_X == 1u
        && (STRIDE_X == 1u || (STRIDE_X == 2u && n != (KERNEL_WIDTH + 1u) / 2u));
}
