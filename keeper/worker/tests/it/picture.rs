//! `image_processing` on pictures drawn and encoded here.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::json;

use crate::bench::Task;

fn encode(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A sky over a meadow, with a gradient each, so that scaling has something to do.
fn landscape(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let shade = (x * 60 / width) as u8;
        if y < height / 2 { Rgb([80 + shade, 140 + shade, 230]) } else { Rgb([40, 120 + shade, 50 + shade]) }
    })
}

#[test]
fn a_picture_becomes_a_thumbnail_and_its_measures() {
    let png = encode(landscape(1600, 900), ImageFormat::Png);
    for (format, signature) in [("png", b"\x89PNG".as_slice()), ("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")] {
        let task = Task::new("image_processing", &[("meadow.png", &png)]);
        let outcome = task.with("/parameters", json!({"max_px": 320, "format": format})).run().succeeded();
        let name = format!("meadow.thumbnail.{format}");
        assert_eq!(outcome.names(), ["meadow.picture.json", name.as_str()]);
        let thumbnail = outcome.read(&name);
        assert!(thumbnail.starts_with(signature));
        let decoded = image::load_from_memory(&thumbnail).unwrap().to_rgb8();
        assert_eq!(decoded.dimensions(), (320, 180));
        let (sky, meadow) = (decoded.get_pixel(160, 20), decoded.get_pixel(160, 160));
        assert!(sky[2] > 200 && meadow[1] > 120 && meadow[2] < 120, "{sky:?} {meadow:?}");
        let measures = outcome.json("meadow.picture.json");
        assert_eq!((&measures["width_px"], &measures["height_px"]), (&json!(1600), &json!(900)));
        assert_eq!(measures["format"], "png");
        assert_eq!(measures["thumbnail"]["width_px"], 320);
        let counted: u64 =
            measures["histogram"]["red"].as_array().unwrap().iter().map(|bin| bin.as_u64().unwrap()).sum();
        assert_eq!(counted, 1600 * 900);
    }
}

#[test]
fn the_mean_colour_is_the_mean() {
    let mut picture = RgbImage::from_pixel(10, 10, Rgb([0, 0, 0]));
    (0..10).for_each(|x| picture.put_pixel(x, 0, Rgb([250, 100, 0])));
    let outcome = Task::new("image_processing", &[("dots.bmp", &encode(picture, ImageFormat::Bmp))]).run().succeeded();
    let measures = outcome.json("dots.picture.json");
    assert_eq!(measures["mean_colour"]["hex"], "#190a00");
    assert_eq!(measures["mean_colour"]["red"], 25.0);
    assert_eq!(measures["thumbnail"]["format"], "png");
}

#[test]
fn transparency_survives_where_the_format_has_it() {
    let mut picture = RgbaImage::from_pixel(64, 64, Rgba([200, 30, 30, 255]));
    picture.put_pixel(0, 0, Rgba([0, 0, 0, 0]));
    let png = encode(picture, ImageFormat::Png);
    let thumbnail = |format: &str| {
        let task = Task::new("image_processing", &[("logo.png", &png)]).with("/parameters", json!({"format": format}));
        let bytes = task.run().succeeded().read(&format!("logo.thumbnail.{format}"));
        *image::load_from_memory(&bytes).unwrap().to_rgba8().get_pixel(0, 0)
    };
    assert_eq!(thumbnail("png")[3], 0);
    assert_eq!(thumbnail("webp")[3], 0);
    assert_eq!(thumbnail("jpeg")[3], 255);
}

#[test]
fn a_turned_photograph_stands_upright() {
    let jpeg = encode(landscape(400, 200), ImageFormat::Jpeg);
    // An EXIF block with the one entry "orientation: turned by 90 degrees", put in after the start-of-image marker.
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00";
    let turned = [&jpeg[..2], exif.as_slice(), &jpeg[2..]].concat();
    let outcome =
        Task::new("image_processing", &[("photo.jpg", &turned)]).with("/parameters", json!({"max_px": 100})).run();
    let outcome = outcome.succeeded();
    let measures = outcome.json("photo.picture.json");
    assert_eq!((&measures["width_px"], &measures["height_px"]), (&json!(200), &json!(400)));
    let thumbnail = image::load_from_memory(&outcome.read("photo.thumbnail.jpeg")).unwrap().to_rgb8();
    assert_eq!(thumbnail.dimensions(), (50, 100));
    assert!(thumbnail.get_pixel(45, 50)[2] > 180, "the sky was up and is now right");
}

#[test]
fn broken_pictures_are_named() {
    let png = encode(landscape(200, 100), ImageFormat::Png);
    let cut = &png[..png.len() / 2];
    Task::new("image_processing", &[("cut.png", cut)]).run().failed(65, "cut.png: cannot be decoded");
    Task::new("image_processing", &[("notes.png", b"not a picture".as_slice())])
        .run()
        .failed(65, "notes.png: is not a picture");
}

#[test]
fn a_decompression_bomb_is_refused_before_it_unpacks() {
    let mut png = encode(landscape(8, 8), ImageFormat::Png);
    // The header claims 30,000 × 30,000 pixels; its checksum is made right, as a real bomb's would be.
    png[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    let checksum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&checksum);
    Task::new("image_processing", &[("bomb.png", &png)]).run().failed(65, "bomb.png: is 30000×30000 px");
}

/// The checksum of PNG chunks (PNG specification, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn one_broken_picture_does_not_cost_the_others() {
    let png = encode(landscape(20, 10), ImageFormat::Png);
    let outcome = Task::new("image_processing", &[("bad.png", b"x".as_slice()), ("good.png", &png)]).run();
    let outcome = outcome.failed(65, "1 of 2 inputs could not be processed: bad.png");
    assert_eq!(outcome.json("error.json")["inputs"], json!(["bad.png"]));
    assert_eq!(outcome.names(), ["error.json", "good.picture.json", "good.thumbnail.png"]);
}

#[test]
fn pictures_are_reproducible() {
    let png = encode(landscape(3000, 1000), ImageFormat::Png);
    let run = || Task::new("image_processing", &[("a.png", &png)]).run().succeeded().manifest;
    assert_eq!(run(), run());
}
