// What the transforms of Winograd's form over buffers share: where tiles are in their matrices and in the picture.
//
// Of the SIDE x SIDE matrices, one for each place in a tile, each has a row for every channel and a column for every tile,
// image after image. Further columns make rows whole fours.

struct Params {
    // Rows and columns of a matrix, and its elements.
    channels: u32,
    columns: u32,
    count: u32,
    // The images of this dispatch, and the first of them.
    images: u32,
    first_image: u32,
    // Tiles of an image, and in a row of it.
    tiles: u32,
    across: u32,
    // The size of the picture, and the padding before it.
    height: u32,
    width: u32,
    pad_top: u32,
    pad_left: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

struct Tile {
    channel: u32,
    // The row of the picture's first row among those of all channels.
    plane: u32,
    // Where the tile's outputs start.
    top: u32,
    left: u32,
    // Whether it is a tile of an image.
    inside: bool,
}

// The tile that element i of a matrix belongs to.
fn tile_at(i: u32) -> Tile {
    let channel = i / params.columns;
    let tile = i % params.columns;
    let image = tile / params.tiles;
    let within = tile % params.tiles;
    return Tile(
        channel,
        ((params.first_image + image) * params.channels + channel) * params.height,
        within / params.across * OUTPUTS,
        within % params.across * OUTPUTS,
        image < params.images,
    );
}
