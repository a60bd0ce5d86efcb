// What convolutions over images share: reading along a row of the input.

// A pixel of the row that starts at this texel; zeros beside it.
fn load(start: u32, column: i32) -> vec4<f32> {
    let texel = textureLoad(input, texel_at(start + u32(max(column, 0))));
    return select(vec4<f32>(), texel, column >= 0 && column < i32(params.input_width));
}
