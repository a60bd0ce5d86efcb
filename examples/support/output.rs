//! Where pictures go.

use std::path::Path;

use anyhow::Result;
use wgpu_cnn::picture::{self, GrayImage};

/// Writes a picture into `target/examples` and says so.
pub fn save(name: &str, picture: &GrayImage) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/examples");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    picture::save(&path, picture)?;
    println!("\nwrote {} ({} x {})", path.display(), picture.width(), picture.height());
    Ok(())
}
