//! Answers that are lists: filters, limits, cursors.

use alloy::primitives::Address;
use axum::{Json, extract::State};

use super::{
    Api,
    problem::Problem,
    query::{self, BidsQuery, OffersQuery, PageQuery, Query, RentalsQuery},
    wire::{AgreementInfo, List, OfferInfo, ProviderInfo},
};
use crate::{
    error::IndexError,
    store::{
        rows::{AgreementRow, OfferRow, Status, status_from_name},
        schema::{Key, Table, trailing_address},
        snapshot::decode,
    },
};

/// Open bids: best first within a book, or the newest first of one wallet.
#[utoipa::path(get, path = "/v1/bids", params(BidsQuery), responses(
    (status = 200, body = List<AgreementInfo>), (status = 400, body = Problem, content_type = "application/problem+json")
))]
pub(super) async fn bids(
    State(api): Api,
    Query(asked): Query<BidsQuery>,
) -> Result<Json<List<AgreementInfo>>, Problem> {
    let class = asked.class.as_deref().map(query::class).transpose()?;
    let bucket = asked.bucket.as_deref().map(query::bucket).transpose()?;
    let preemptible = asked.preemptible;
    let wallet: Option<Address> = query::parse_some("wallet", asked.wallet.as_ref())?;
    let list = match (wallet, class) {
        (Some(wallet), _) => Key::new(Table::WalletLive).address(wallet),
        (None, Some(class)) => Key::new(Table::Queues).u8(class),
        (None, None) => Key::new(Table::Queues),
    };
    let (limit, cursor) = (query::limit(asked.limit)?, query::cursor(asked.cursor.as_ref(), &list)?);
    api.list(move |snapshot| {
        let wanted = |row: &AgreementRow| {
            row.status == Status::Open
                && row.id.book().is_some_and(|book| {
                    class.is_none_or(|class| class == book.class)
                        && bucket.is_none_or(|bucket| bucket == book.bucket)
                        && preemptible.is_none_or(|preemptible| preemptible == book.preemptible)
                })
        };
        Ok(snapshot.page(&list, cursor.as_deref(), limit, |key, _| {
            let row = if wallet.is_some() { snapshot.indexed_agreement(key) } else { snapshot.queued_agreement(key) }?;
            wanted(&row).then(|| AgreementInfo::new(snapshot, row)).transpose()
        })?)
    })
    .await
}

/// Offers by id.
#[utoipa::path(get, path = "/v1/offers", params(OffersQuery), responses(
    (status = 200, body = List<OfferInfo>), (status = 400, body = Problem, content_type = "application/problem+json")
))]
pub(super) async fn offers(
    State(api): Api,
    Query(asked): Query<OffersQuery>,
) -> Result<Json<List<OfferInfo>>, Problem> {
    let class = asked.class.as_deref().map(query::class).transpose()?;
    let provider: Option<Address> = query::parse_some("provider", asked.provider.as_ref())?;
    let open = asked.open;
    let list = match (provider, class, open) {
        (Some(provider), ..) => Key::new(Table::ProviderOffers).address(provider),
        (None, Some(class), Some(true)) => Key::new(Table::ListedOffers).u8(class),
        _ => Key::new(Table::Offers),
    };
    let (limit, cursor) = (query::limit(asked.limit)?, query::cursor(asked.cursor.as_ref(), &list)?);
    api.list(move |snapshot| {
        let now_s = snapshot.head().map_or(0, |head| head.timestamp);
        let wanted = |row: &OfferRow| {
            class.is_none_or(|class| class == row.class) && open.is_none_or(|open| open == row.is_open_at(now_s))
        };
        Ok(snapshot.page(&list, cursor.as_deref(), limit, |key, _| {
            let row = snapshot.indexed_offer(key)?;
            wanted(&row).then(|| OfferInfo::new(snapshot, &row)).transpose()
        })?)
    })
    .await
}

/// Rentals, newest match first (of one wallet: newest bid first).
#[utoipa::path(get, path = "/v1/rentals", params(RentalsQuery), responses(
    (status = 200, body = List<AgreementInfo>), (status = 400, body = Problem, content_type = "application/problem+json")
))]
pub(super) async fn rentals(
    State(api): Api,
    Query(asked): Query<RentalsQuery>,
) -> Result<Json<List<AgreementInfo>>, Problem> {
    let class = asked.class.as_deref().map(query::class).transpose()?;
    let status = asked.status.as_deref().map(status).transpose()?;
    let wallet: Option<Address> = query::parse_some("wallet", asked.wallet.as_ref())?;
    let provider: Option<Address> = query::parse_some("provider", asked.provider.as_ref())?;
    let live = asked.live;
    let list = match (wallet, provider, live) {
        (Some(wallet), _, Some(true)) => Key::new(Table::WalletLive).address(wallet),
        (Some(wallet), ..) => Key::new(Table::WalletAgreements).address(wallet),
        (None, Some(provider), Some(true)) => Key::new(Table::ProviderLive).address(provider),
        (None, Some(provider), _) => Key::new(Table::ProviderRentals).address(provider),
        (None, None, _) => Key::new(Table::Rentals),
    };
    let (limit, cursor) = (query::limit(asked.limit)?, query::cursor(asked.cursor.as_ref(), &list)?);
    api.list(move |snapshot| {
        let wanted = |row: &AgreementRow| {
            row.matched.is_some()
                && class.is_none_or(|class| class == row.id.class())
                && status.is_none_or(|status| status == row.status)
                && live.is_none_or(|live| live == row.is_live())
                && provider.is_none_or(|provider| Some(provider) == row.provider())
        };
        Ok(snapshot.page(&list, cursor.as_deref(), limit, |key, _| {
            let row = snapshot.indexed_agreement(key)?;
            wanted(&row).then(|| AgreementInfo::new(snapshot, row)).transpose()
        })?)
    })
    .await
}

/// Providers by address.
#[utoipa::path(get, path = "/v1/providers", params(PageQuery), responses(
    (status = 200, body = List<ProviderInfo>), (status = 400, body = Problem, content_type = "application/problem+json")
))]
pub(super) async fn providers(
    State(api): Api,
    Query(asked): Query<PageQuery>,
) -> Result<Json<List<ProviderInfo>>, Problem> {
    let list = Key::new(Table::Providers);
    let (limit, cursor) = (query::limit(asked.limit)?, query::cursor(asked.cursor.as_ref(), &list)?);
    api.list(move |snapshot| {
        Ok(snapshot.page(&list, cursor.as_deref(), limit, |key, value| {
            let address = trailing_address(key).ok_or_else(|| IndexError::damaged("provider", key))?;
            let row = decode(key, value)?;
            let provider = crate::Provider { address, row, operators: snapshot.operators(address)? };
            ProviderInfo::new(snapshot, provider).map(Some)
        })?)
    })
    .await
}

fn status(name: &str) -> Result<Status, Problem> {
    status_from_name(name).filter(|status| *status != Status::None).ok_or_else(|| {
        Problem::bad_request(format!(
            "'{name}' is no status: use confirmed, running, submitted, disputed, settled, resolved, preempted, \
             expired, failed or cancelled"
        ))
    })
}
