"""What people type finds what they mean: golden queries in many scripts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.service import AUTH, Service
from tests.support.sounds import wav

CLIPS: dict[str, dict[str, Any]] = {
    "cafe": {"title": "Café del Mar", "artist": "José Padilla", "genre": "Chill-out"},
    "street": {"title": "Die Straße", "artist": "Hänsel & Söhne", "album": "Größe"},
    "yolka": {"title": "Ёлка", "artist": "Пётр Чайковский", "album": "Щелкунчик"},
    "road": {"title": "Ὁ ὁδὸς", "artist": "Μίκης Θεοδωράκης"},
    "saigon": {"title": "Diễm Xưa", "artist": "Trịnh Công Sơn", "description": "Một bài hát ở Sài Gòn"},
    "cairo": {"title": "إنتَ عُمري", "artist": "أم كلثوم"},
    "tokyo": {"title": "東京の夜", "artist": "カラオケ・ガールズ"},
    "beijing": {"title": "北京", "artist": "Ｗａｎｇ ３"},
    "seoul": {"title": "서울의 밤", "artist": "김민기"},
    "istanbul": {"title": "IŞIK", "artist": "İbrahim"},
    "lodz": {"title": "Łódź", "artist": "Ørsted Æther"},
    "signs": {"title": r"100% _under\score'", "artist": 'The "Quotes"'},
    "blue": {"title": "Blue", "artist": "Joni", "date": "1971-06"},
    "blue train": {"title": "Blue Train", "artist": "John Coltrane", "genre": "Jazz"},
    "kind": {"title": "Kind of Blue", "artist": "Miles Davis", "album_artist": "The Sextet"},
    "bluebird": {"title": "Song", "artist": "Bluebirds"},
}
# What is typed, and all that it finds.
GOLDEN: list[tuple[str, set[str]]] = [
    ("cafe", {"cafe"}),
    ("CAFÉ", {"cafe"}),
    ("ｃａｆｅ", {"cafe"}),
    ("jose padi", {"cafe"}),
    ("mar jose chill", {"cafe"}),
    ("strasse", {"street"}),
    ("STRASSE", {"street"}),
    ("traß", {"street"}),
    ("sohne gross", {"street"}),
    ("елка", {"yolka"}),
    ("ЁЛКА чайков", {"yolka"}),
    ("елкунчик", {"yolka"}),
    ("οδος", {"road"}),
    ("ΟΔΟΣ θεοδωρακησ", {"road"}),
    ("diem xua", {"saigon"}),
    ("trinh cong son", {"saigon"}),
    ("sai gon", {"saigon"}),
    ("انت عمري", {"cairo"}),
    ("ام كلثوم", {"cairo"}),
    ("كلث", {"cairo"}),
    ("東", {"tokyo"}),
    ("京", {"tokyo", "beijing"}),
    ("東京", {"tokyo"}),
    ("京東", set()),
    ("からおけ", {"tokyo"}),
    ("ｶﾞｰﾙ", {"tokyo"}),
    ("の夜", {"tokyo"}),
    ("북경", set()),
    ("wang 3", {"beijing"}),
    ("서울", {"seoul"}),
    ("울의", {"seoul"}),
    ("ışık", {"istanbul"}),
    ("isik ibrahim", {"istanbul"}),
    ("lodz", {"lodz"}),
    ("orsted aether", {"lodz"}),
    ("%", {"signs"}),
    ("_", {"signs"}),
    ("\\", {"signs"}),
    ("0% _u", {"signs"}),
    ("_under\\", {"signs"}),
    ("'", {"signs"}),
    ("’", {"signs"}),
    ('"quotes', {"signs"}),
    ("“quotes”", {"signs"}),
    ("100_", set()),
    ("blue", {"blue", "blue train", "kind", "bluebird"}),
    ("lue rai", {"blue train"}),
    ("blue nothing", set()),
    ("1971", {"blue"}),
    ("sextet", {"kind"}),
    ("x.mp3", set()),
    (".*", set()),
    ("' OR 1=1 --", set()),
]


async def fill(service: Service) -> dict[str, str]:
    names = {}
    for name, words in CLIPS.items():
        body = {**words, "audio_url": "http://8.8.8.8/x"}
        answer = await service.http.post("/play", json=body, headers=AUTH)
        assert answer.status_code == 201
        names[answer.json()["id"]] = name
    return names


async def found(service: Service, names: dict[str, str], **query: Any) -> list[str]:
    answer = await service.http.get("/play", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-total-count"] == str(len(answer.json()))
    return [names[clip["id"]] for clip in answer.json()]


async def test_golden_queries(service: Service) -> None:
    names = await fill(service)
    wrong = {}
    for query, expected in GOLDEN:
        if (got := await found(service, names, q=query)) != sorted(expected, key=got.index) or len(
            got
        ) != len(expected):
            wrong[query] = got
    assert wrong == {}


async def test_what_is_meant_comes_first(service: Service) -> None:
    names = await fill(service)
    assert await found(service, names, q="BLUE") == ["blue", "bluebird", "blue train", "kind"]
    assert await found(service, names, q="blue", sort="title") == ["blue", "blue train", "kind", "bluebird"]
    assert await found(service, names, q="blue", sort="-created_at") == [
        *("bluebird", "kind", "blue train", "blue"),
    ]


async def test_pages_of_best_matches(service: Service) -> None:
    names = await fill(service)
    seen: list[str] = []
    url = "/play?q=blue&limit=1"
    while url:
        answer = await service.http.get(url)
        assert answer.headers["x-total-count"] == "4"
        seen += [names[clip["id"]] for clip in answer.json()]
        url = answer.links["next"]["url"] if "next" in answer.links else ""
    assert seen == ["blue", "bluebird", "blue train", "kind"]


async def test_filters_compare_what_is_the_same_to_people(service: Service) -> None:
    names = await fill(service)
    assert await found(service, names, artist="petr чайковскии") == []
    assert await found(service, names, artist="петр чайковский") == ["yolka"]
    assert await found(service, names, artist="JOHN  COLTRANE") == ["blue train"]
    assert await found(service, names, artist="john") == []
    assert await found(service, names, album="GROSSE") == ["street"]
    assert await found(service, names, genre="chill-out") == ["cafe"]
    assert await found(service, names, genre="jazz", artist="joni") == []
    assert await found(service, names, genre="jazz", q="train", sort="artist") == ["blue train"]


async def test_filters_by_what_was_found_in_the_file(service: Service) -> None:
    for seconds in (1, 2, 3):
        files = {"file": (f"{seconds} seconds.wav", wav(seconds=seconds))}
        assert (await service.http.post("/play/upload", files=files, headers=AUTH)).status_code == 201
    clips = (await service.http.get("/play?sort=duration")).json()
    assert [clip["duration"] for clip in clips] == [1, 2, 3]

    async def durations(query: str) -> list[float]:
        return [clip["duration"] for clip in (await service.http.get(f"/play?sort=duration&{query}")).json()]

    assert await durations("media_type=audio/wav") == [1, 2, 3]
    assert await durations("media_type=audio/flac") == []
    assert await durations("duration_min=2") == [2, 3]
    assert await durations("duration_min=2&duration_max=2") == [2]
    assert await durations("q=2+seconds") == [2]  # the file name
    second = clips[1]["created_at"]
    assert await durations(f"created_after={second}") == [3]
    assert await durations(f"created_before={second}") == [1]
    assert await durations(f"sha256={clips[0]['sha256']}&duration_max=1.5") == [1]
    assert [clip["size"] for clip in (await service.http.get("/play?sort=-size")).json()] == sorted(
        (clip["size"] for clip in clips), reverse=True
    )


async def test_an_edit_is_found_at_once(service: Service) -> None:
    names = await fill(service)
    (clip_id,) = (one for one, name in names.items() if name == "blue")
    assert await found(service, names, q="viola") == []
    edit = {"description": "für VIOLA", "artist": None, "title": "Yellow"}
    assert (await service.http.patch(f"/play/{clip_id}", json=edit, headers=AUTH)).status_code == 200
    assert await found(service, names, q="viola fur") == ["blue"]
    assert await found(service, names, artist="joni") == []
    assert await found(service, names, q="yellow") == ["blue"]
    assert "blue" not in await found(service, names, q="blue")
    assert (await service.http.delete(f"/play/{clip_id}", headers=AUTH)).status_code == 204
    assert await found(service, names, q="yellow") == []


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("q=" + "x" * 201, "q"),
        ("q=%00", "q"),
        ("q=" + "+".join(f"w{number}y" for number in range(21)), "q"),
        ("q=" + "%E6%97%A5" * 200, "q"),
        ("artist=", "artist"),
        ("artist=%20", "artist"),
        ("artist=a&artist=b", "artist"),
        ("artits=a", "artits"),
        ("sort=", "sort"),
        ("sort=loudest", "sort"),
        ("sort=+title", "sort"),
        ("sort=relevance", "sort"),
        ("duration_min=-1", "duration_min"),
        ("duration_min=nan", "duration_min"),
        ("duration_max=inf", "duration_max"),
        ("duration_min=2&duration_max=1", "duration_min"),
        ("created_after=yesterday", "created_after"),
        ("media_type=flac", "media_type"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("cursor=AAAA", "cursor"),
    ],
)
async def test_wrong_parameters_are_named(service: Service, query: str, parameter: str) -> None:
    answer = await service.http.get(f"/play?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert answer.json()["errors"][0]["loc"] == ["query", parameter]


async def test_an_empty_search_is_none(service: Service) -> None:
    names = await fill(service)
    assert len(await found(service, names, q="")) == len(CLIPS)
    assert len(await found(service, names, q="  ")) == len(CLIPS)


async def test_a_cursor_is_for_its_own_list(service: Service) -> None:
    await fill(service)
    link = (await service.http.get("/play?q=blue&limit=1&sort=title")).links["next"]["url"]
    cursor = link.partition("cursor=")[2]
    assert (await service.http.get(f"/play?q=blue&sort=title&cursor={cursor}")).status_code == 200
    for other in (
        "q=blue",
        "q=blue&sort=-title",
        "sort=title",
        "q=red&sort=title",
        "q=blue&sort=title&genre=x",
    ):
        answer = await service.http.get(f"/play?{other}&cursor={cursor}")
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "cursor"])


async def test_the_next_page_keeps_what_was_asked(service: Service) -> None:
    await fill(service)
    query = {"q": "blue", "duration_max": "1e6", "created_after": "2020-01-01T00:00:00Z", "sort": "artist"}
    for clip in (await service.http.get("/play", params={"q": "blue"})).json():
        assert clip["duration"] is None
    answer = await service.http.get("/play", params={**query, "limit": 1})
    assert answer.json() == []
    answer = await service.http.get("/clips", params={"q": "Blue", "limit": 2, "sort": "artist"})
    link = answer.links["next"]["url"]
    assert "/clips?" in link
    for part in ("q=Blue", "sort=artist", "limit=2"):
        assert part in link


async def test_filters_by_what_an_app_has_set(service: Service) -> None:
    data: list[dict[str, Any]] = [{"shelf": "A7", "n": 1}, {"shelf": "B", "n": "1"}, {"n": True}, {"n": None}]
    for number, metadata in enumerate(data):
        body = {"title": str(number), "audio_url": "http://8.8.8.8/x", "external_id": f"id {number}"}
        answer = await service.http.post("/play", json={**body, "metadata": metadata}, headers=AUTH)
        assert answer.status_code == 201, answer.text

    async def titles(query: str) -> list[str]:
        answer = await service.http.get(f"/play?sort=title&{query}")
        assert answer.status_code == 200, answer.text
        return [clip["title"] for clip in answer.json()]

    assert await titles("external_id=id+2") == ["2"]
    assert await titles("external_id=ID+2") == []
    assert await titles("metadata.shelf=A7") == ["0"]
    assert await titles("metadata.n=1") == ["0", "1"]
    assert await titles("metadata.n=1&metadata.shelf=B") == ["1"]
    assert await titles("metadata.n=true") == ["2"]
    assert await titles("metadata.n=null") == ["3"]
    assert await titles("metadata.other=null") == []
    assert await titles("metadata.shelf={}") == []
    link = (await service.http.get("/play?metadata.n=1&limit=1")).links["next"]["url"]
    assert [clip["title"] for clip in (await service.http.get(link)).json()] == ["0"]
    for wrong in ("metadata.n=1&metadata.n=2", "metadata=1", "metadata.n=%00", "metadata.n=" + "x" * 600):
        assert (await service.http.get(f"/play?{wrong}")).status_code == 422
