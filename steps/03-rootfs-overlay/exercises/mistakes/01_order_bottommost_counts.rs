//! Put the layers in overlayfs's order.
//!
//! An image lists its layers as they were made, the bottom one first. overlayfs wants the
//! top one first, refuses a directory that it already has, and takes 500 at most. Only the
//! topmost of equal layers counts anyway. Write the option `lowerdir=`, and mind that a
//! colon separates two layers: one that is part of a name needs a backslash before it.
//!
//! Minutes: 10

/// The layers as overlayfs wants them.
fn top_first<'a>(bottom_first: &[&'a str]) -> Vec<&'a str> {
    // YOURS: turn the order round, and keep each layer once, where it is topmost
    // SAYS: of equal layers the topmost counts
    let mut found = Vec::new();
    for layer in bottom_first {
        if !found.contains(layer) {
            found.push(*layer);
        }
    }
    found.reverse();
    found
    // END
}

/// The mount option, or why there is none.
fn lowerdir(bottom_first: &[&str]) -> Result<String, String> {
    // YOURS: refuse none and more than 500; join the others with colons
    let layers = top_first(bottom_first);
    match layers.len() {
        0 => Err("a root needs a layer".into()),
        1..=500 => {
            let names: Vec<_> = layers.iter().map(|layer| layer.replace(':', "\\:")).collect();
            Ok(format!("lowerdir={}", names.join(":")))
        }
        n => Err(format!("{n} layers, and overlayfs takes 500 at most")),
    }
    // END
}

fn main() {
    let many: Vec<_> = (0..501).map(|n| format!("/layers/{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let twice: Vec<_> = many[..300].iter().chain(&many[..300]).copied().collect();
    let told = |name: &str, layers: &[&str]| match lowerdir(layers) {
        Ok(option) if option.len() > 100 => {
            println!("{name}: {} layers", option.split(':').count())
        }
        Ok(option) => println!("{name}: {option}"),
        Err(error) => println!("{name}: refused: {error}"),
    };
    told("two", &["/base", "/app"]);
    told("one twice", &["/base", "/app", "/base"]);
    told("a name with a colon", &["/base", "/sha256:ab"]);
    told("300 twice", &twice);
    told("501", &many);
    told("none", &[]);
}
