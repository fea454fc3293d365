//! `image_processing`: a thumbnail in the wanted format, and the picture's measures as JSON.

use std::io::{Cursor, Read, Seek};

use image::{
    DynamicImage, ExtendedColorType, GenericImageView as _, ImageDecoder as _, ImageEncoder as _, ImageError,
    ImageFormat, ImageReader, Limits,
    codecs::{
        jpeg::JpegEncoder,
        png::{CompressionType, FilterType, PngEncoder},
        webp::WebPEncoder,
    },
    imageops,
    metadata::Orientation,
};
use serde::{Deserialize, Serialize};

use crate::{failure::Failure, output::OutDir, task::Blob};

/// An input may have at most this many bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Decoding may take at most this many bytes by [`memory_needed`], so that a container of 256 MiB is enough. That is
/// 70 megapixels as PNG, 50 of a camera's JPEG, 24 as the most wasteful progressive JPEG.
const MAX_MEMORY_BYTES: u64 = 224 << 20;

/// Neither side may be longer.
const MAX_SIDE_PX: u32 = 32_768;

/// A histogram has this many equal steps per channel.
const BINS: usize = 16;

const JPEG_QUALITY: u8 = 85;

/// What the renter may choose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Parameters {
    /// The longer side of the thumbnail, 1 to 2048; a smaller picture keeps its size.
    max_px: u32,
    /// Of the thumbnail; the input's own by default, PNG where that is none of these.
    format: Option<Target>,
}

/// A format this worker writes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Target {
    Png,
    #[serde(alias = "jpg")]
    Jpeg,
    Webp,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { max_px: 512, format: None }
    }
}

impl Parameters {
    /// # Errors
    /// [`Failure::Usage`] for a number out of range.
    pub(crate) fn checked(self) -> Result<Self, Failure> {
        if (1..=2048).contains(&self.max_px) {
            Ok(self)
        } else {
            Err(Failure::Usage(format!("parameter max_px is {}; it must be 1 to 2048", self.max_px)))
        }
    }
}

/// The content of `<stem>.picture.json`. Colours are sRGB as stored, 0 to 255, weighted by opacity.
#[derive(Debug, Serialize)]
struct Measures {
    name: String,
    format: String,
    bytes: u64,
    /// As shown, that is after the camera's orientation note was followed.
    width_px: u32,
    height_px: u32,
    colour_type: String,
    orientation_note: u8,
    has_transparency: bool,
    /// Absent when every pixel is transparent.
    mean_colour: Option<Mean>,
    /// Counts of visible pixels, each channel in equal steps from 0 to 255.
    histogram: Histogram,
    thumbnail: Thumbnail,
}

#[derive(Debug, Serialize)]
struct Mean {
    hex: String,
    red: f64,
    green: f64,
    blue: f64,
    /// Rec. 709 luma of the mean.
    luma: f64,
}

#[derive(Debug, Default, Serialize)]
struct Histogram {
    red: [u64; BINS],
    green: [u64; BINS],
    blue: [u64; BINS],
    luma: [u64; BINS],
}

#[derive(Debug, Serialize)]
struct Thumbnail {
    path: String,
    format: String,
    bytes: u64,
    width_px: u32,
    height_px: u32,
}

/// Writes `<stem>.thumbnail.<extension>` and `<stem>.picture.json`.
pub(crate) fn process(
    parameters: &Parameters,
    blob: &mut Blob,
    stem: &str,
    out: &mut OutDir,
) -> Result<String, Failure> {
    blob.check_size(MAX_BYTES, "image_processing")?;
    let source = decode(blob, parameters.max_px)?;
    let (colours, histogram, has_transparency) = measure(&source.picture);
    let target = parameters.format.unwrap_or_else(|| Target::nearest(source.format));
    let (width_px, height_px) = source.shown();

    // Small first, turned afterwards: turning needs a second copy.
    let mut small = shrink(source.picture, parameters.max_px);
    small.apply_orientation(source.orientation);
    let encoded = target.encode(&small, has_transparency).map_err(|error| Failure::Internal(error.to_string()))?;

    let path = format!("{stem}.thumbnail.{}", target.extension());
    out.write(&path, target.media_type(), &encoded)?;
    let measures = Measures {
        name: blob.name.clone(),
        format: label(source.format),
        bytes: blob.bytes,
        width_px,
        height_px,
        colour_type: format!("{:?}", source.colour_type).to_lowercase(),
        orientation_note: source.orientation.to_exif(),
        has_transparency,
        mean_colour: colours,
        histogram,
        thumbnail: Thumbnail {
            path,
            format: target.extension().to_owned(),
            bytes: encoded.len() as u64,
            width_px: small.width(),
            height_px: small.height(),
        },
    };
    out.write_json(&format!("{stem}.picture.json"), &measures)?;
    Ok(format!(
        "{} {width_px}×{height_px} px, thumbnail {} {}×{} px",
        measures.format,
        measures.thumbnail.format,
        small.width(),
        small.height()
    ))
}

struct Source {
    picture: DynamicImage,
    format: ImageFormat,
    colour_type: ExtendedColorType,
    orientation: Orientation,
}

impl Source {
    /// Width and height as shown.
    fn shown(&self) -> (u32, u32) {
        let (width, height) = self.picture.dimensions();
        match self.orientation {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (height, width),
            _ => (width, height),
        }
    }
}

fn decode(blob: &mut Blob, max_px: u32) -> Result<Source, Failure> {
    let (name, bytes) = (blob.name.clone(), blob.bytes);
    let progressive = is_progressive(&mut blob.reader()?);
    let bad = |error: &ImageError| Failure::bad(&name, format!("cannot be decoded: {error}"));
    let mut reader = ImageReader::new(blob.reader()?)
        .with_guessed_format()
        .map_err(|error| crate::task::unreadable(&name, error))?;
    let Some(format) = reader.format() else {
        return Err(Failure::bad(&name, "is not a picture this worker reads (PNG, JPEG, GIF, WebP, BMP)"));
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PX);
    limits.max_image_height = Some(MAX_SIDE_PX);
    limits.max_alloc = Some(MAX_MEMORY_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| bad(&error))?;
    // Checked before a single pixel is decoded: a few kilobytes can claim gigabytes.
    let (width, height) = decoder.dimensions();
    let decoded = decoder.total_bytes();
    // The first step of scaling keeps a copy of twice the thumbnail's size beside the picture.
    let pixels = (u64::from(width) * u64::from(height)).max(1);
    let scaled = (4 * u64::from(max_px) * u64::from(max_px)).min(pixels) * decoded.div_ceil(pixels);
    let needed = memory_needed(format, progressive, decoded, bytes).max(decoded.saturating_add(scaled));
    if needed > MAX_MEMORY_BYTES {
        return Err(Failure::bad(
            &name,
            format!(
                "is {width}×{height} px, which takes {} MiB to decode; this worker has {} MiB for it: scale it down",
                needed.div_ceil(1 << 20),
                MAX_MEMORY_BYTES >> 20
            ),
        ));
    }
    // A broken orientation note is no reason to refuse the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let colour_type = decoder.original_color_type();
    let picture = DynamicImage::from_decoder(decoder).map_err(|error| bad(&error))?;
    Ok(Source { picture, format, colour_type, orientation })
}

/// An estimate of the memory that decoding takes, measured with large pictures of each format. `decoded` is the size
/// of the pixels, `file` that of the input.
const fn memory_needed(format: ImageFormat, progressive: bool, decoded: u64, file: u64) -> u64 {
    match format {
        // The decoder holds the file; a progressive one is collected as 16-bit coefficients first.
        ImageFormat::Jpeg if progressive => decoded.saturating_mul(3).saturating_add(file),
        ImageFormat::Jpeg => decoded.saturating_add(file),
        // Luma and chroma beside the pixels; the frame beside the canvas.
        ImageFormat::WebP | ImageFormat::Gif => decoded.saturating_mul(2),
        _ => decoded,
    }
}

/// True for a progressive JPEG: walks the segments up to the frame header (ITU-T T.81, annex B). A file that is no
/// JPEG, or a broken one, is left to its decoder.
fn is_progressive(reader: &mut (impl Read + Seek)) -> bool {
    let mut marker = [0; 4];
    if reader.read_exact(&mut marker[..2]).is_err() || marker[..2] != [0xff, 0xd8] {
        return false;
    }
    // A camera writes some twenty segments before the frame.
    for _ in 0..1_000 {
        if reader.read_exact(&mut marker).is_err() || marker[0] != 0xff {
            return false;
        }
        match marker[1] {
            0xc2 | 0xc6 | 0xca | 0xce => return true,
            0xc0 | 0xc1 | 0xda => return false,
            _ => {}
        }
        let length = i64::from(u16::from_be_bytes([marker[2], marker[3]]));
        if length < 2 || reader.seek_relative(length - 2).is_err() {
            return false;
        }
    }
    false
}

/// Mean colour, histogram, and whether any pixel is not fully opaque.
fn measure(picture: &DynamicImage) -> (Option<Mean>, Histogram, bool) {
    let mut histogram = Histogram::default();
    let mut sums = [0_u64; 3];
    let mut opacity = 0_u64;
    let mut transparent = false;
    for (_, _, pixel) in picture.pixels() {
        let [red, green, blue, alpha] = pixel.0;
        transparent |= alpha < 255;
        if alpha == 0 {
            continue;
        }
        opacity += u64::from(alpha);
        for (sum, value) in sums.iter_mut().zip([red, green, blue]) {
            *sum += u64::from(value) * u64::from(alpha);
        }
        // Rec. 709 in thousandths, so that no rounding differs between machines.
        let luma = (u32::from(red) * 213 + u32::from(green) * 715 + u32::from(blue) * 72) / 1000;
        histogram.red[usize::from(red) * BINS / 256] += 1;
        histogram.green[usize::from(green) * BINS / 256] += 1;
        histogram.blue[usize::from(blue) * BINS / 256] += 1;
        histogram.luma[luma as usize * BINS / 256] += 1;
    }
    let mean = (opacity > 0).then(|| {
        let [red, green, blue] = sums.map(|sum| (sum as f64 / opacity as f64 * 100.0).round() / 100.0);
        let hex = format!("#{:02x}{:02x}{:02x}", red.round() as u8, green.round() as u8, blue.round() as u8);
        let luma = ((red * 21.3 + green * 71.5 + blue * 7.2).round()) / 100.0;
        Mean { hex, red, green, blue, luma }
    });
    (mean, histogram, transparent)
}

/// Fits the picture into a square of `max_px`, keeping its aspect; it is never enlarged.
fn shrink(picture: DynamicImage, max_px: u32) -> DynamicImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height);
    if longer <= max_px {
        return picture;
    }
    let scaled = |side: u32| {
        let exact = (u64::from(side) * u64::from(max_px) + u64::from(longer) / 2) / u64::from(longer);
        u32::try_from(exact).unwrap_or(max_px).max(1)
    };
    let (to_width, to_height) = (scaled(width), scaled(height));
    // A box filter brings a large picture to twice its size at little memory, since the last step works in 32-bit
    // floats. That one is cubic: unlike Lanczos it needs no sine, whose last bit differs between processors.
    let near = if longer > max_px * 2 {
        let near = picture.thumbnail_exact(to_width * 2, to_height * 2);
        drop(picture);
        near
    } else {
        picture
    };
    // Results have 8 bits a channel, so nothing wider needs to be scaled.
    let near = match near {
        wide @ (DynamicImage::ImageRgba16(_) | DynamicImage::ImageLumaA16(_)) => wide.into_rgba8().into(),
        wide @ (DynamicImage::ImageRgb16(_) | DynamicImage::ImageLuma16(_)) => wide.into_rgb8().into(),
        narrow => narrow,
    };
    near.resize_exact(to_width, to_height, imageops::FilterType::CatmullRom)
}

impl Target {
    const fn nearest(format: ImageFormat) -> Self {
        match format {
            ImageFormat::Jpeg => Self::Jpeg,
            ImageFormat::WebP => Self::Webp,
            _ => Self::Png,
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }

    fn encode(self, picture: &DynamicImage, transparent: bool) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Cursor::new(Vec::new());
        let (width, height) = picture.dimensions();
        let keep_alpha = transparent && self != Self::Jpeg;
        let (pixels, colour) = if keep_alpha {
            (picture.to_rgba8().into_raw(), ExtendedColorType::Rgba8)
        } else if transparent {
            (on_white(picture), ExtendedColorType::Rgb8)
        } else {
            (picture.to_rgb8().into_raw(), ExtendedColorType::Rgb8)
        };
        match self {
            Self::Png => PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
                .write_image(&pixels, width, height, colour)?,
            Self::Jpeg => {
                JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).write_image(&pixels, width, height, colour)?;
            }
            Self::Webp => WebPEncoder::new_lossless(&mut bytes).write_image(&pixels, width, height, colour)?,
        }
        Ok(bytes.into_inner())
    }
}

/// RGB of a picture laid on white, for formats without transparency.
fn on_white(picture: &DynamicImage) -> Vec<u8> {
    let blend = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        // At most 255, so the cast keeps the value.
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    picture
        .pixels()
        .flat_map(|(_, _, pixel)| {
            let [red, green, blue, alpha] = pixel.0;
            [blend(red, alpha), blend(green, alpha), blend(blue, alpha)]
        })
        .collect()
}

fn label(format: ImageFormat) -> String {
    format.extensions_str().first().map_or_else(
        || format!("{format:?}"),
        |extension| match *extension {
            "jpg" => "jpeg".to_owned(),
            extension => extension.to_owned(),
        },
    )
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    fn check_size(from: (u32, u32), max_px: u32, expect: (u32, u32)) {
        let picture = DynamicImage::new_rgb8(from.0, from.1);
        assert_eq!(shrink(picture, max_px).dimensions(), expect, "{from:?} into {max_px}");
    }

    #[test]
    fn thumbnails_fit_and_keep_their_aspect() {
        check_size((1000, 500), 512, (512, 256));
        check_size((500, 4000), 512, (64, 512));
        check_size((300, 200), 512, (300, 200));
        check_size((512, 512), 512, (512, 512));
        check_size((5000, 3), 100, (100, 1));
        check_size((7, 1), 1, (1, 1));
    }

    #[test]
    fn progressive_jpegs_are_recognised() {
        let check = |bytes: &[u8], expect| assert_eq!(is_progressive(&mut Cursor::new(bytes)), expect, "{bytes:x?}");
        check(b"\xff\xd8\xff\xe0\0\x04ab\xff\xc2\0\x0b", true);
        check(b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x0b", false);
        check(b"\xff\xd8\xff\xe0\0\0", false);
        check(b"\x89PNG\xff\xc2\0\x0b", false);
    }

    #[test]
    fn measures_weigh_by_opacity() {
        let mut picture = RgbaImage::from_pixel(2, 1, Rgba([255, 0, 0, 255]));
        picture.put_pixel(1, 0, Rgba([0, 255, 0, 0]));
        let (mean, histogram, transparent) = measure(&picture.into());
        let mean = mean.expect("one pixel is visible");
        assert_eq!((mean.hex.as_str(), mean.luma), ("#ff0000", 54.32));
        assert_eq!((histogram.red[15], histogram.green[0], histogram.luma[3]), (1, 1, 1));
        assert!(transparent);
    }

    #[test]
    fn an_invisible_picture_has_no_colour() {
        assert!(measure(&RgbaImage::new(2, 2).into()).0.is_none());
    }

    #[test]
    fn jpeg_shows_transparency_as_white() {
        assert_eq!(on_white(&RgbaImage::new(1, 1).into()), [255, 255, 255]);
    }
}
