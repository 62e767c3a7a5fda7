//! Writes the book's generated pages anew.

use anyhow::Result;

fn main() -> Result<()> {
    for page in book::generated::all()? {
        if !page.is_current() {
            page.write()?;
            println!("{}", page.file.display());
        }
    }
    Ok(())
}
