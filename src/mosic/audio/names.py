"""Names of fields in ID3, MP4 and ASF → names in Vorbis comments, as most taggers map them."""

from __future__ import annotations

ID3 = {
    "TIT1": "grouping", "TIT2": "title", "TIT3": "subtitle", "TPE1": "artist", "TPE2": "albumartist",
    "TPE3": "conductor", "TPE4": "remixer", "TALB": "album", "TCOM": "composer", "TEXT": "lyricist",
    "TCON": "genre", "TDRC": "date", "TDOR": "originaldate", "TDRL": "releasedate", "TRCK": "tracknumber",
    "TPOS": "discnumber", "TBPM": "bpm", "TKEY": "key", "TLAN": "language", "TMOO": "mood", "TMED": "media",
    "TSRC": "isrc", "TCOP": "copyright", "TPUB": "label", "TENC": "encodedby", "TSSE": "encodersettings",
    "TOPE": "originalartist", "TOAL": "originalalbum", "TOLY": "originallyricist", "TOFN": "originalfilename",
    "TSOT": "titlesort", "TSOP": "artistsort", "TSOA": "albumsort", "TSO2": "albumartistsort",
    "TSOC": "composersort", "TSST": "discsubtitle", "TCMP": "compilation", "TCAT": "podcastcategory",
    "TDES": "podcastdescription", "TGID": "podcastid", "TKWD": "podcastkeywords", "WFED": "podcasturl",
    "WOAR": "website", "WCOP": "license", "MVNM": "movementname", "MVIN": "movement", "GRP1": "grouping",
    "COMM": "comment", "USLT": "lyrics", "WXXX": "url",
}  # fmt: skip
ID3_PEOPLE = {"DJ-mix": "djmixer", "mix": "mixer"}
MP4 = {
    "©nam": "title", "©ART": "artist", "©alb": "album", "aART": "albumartist", "©wrt": "composer",
    "©day": "date", "©gen": "genre", "©cmt": "comment", "desc": "description", "ldes": "longdescription",
    "©lyr": "lyrics", "©grp": "grouping", "©too": "encodedby", "©swr": "encodedby",
    "cprt": "copyright", "trkn": "tracknumber", "disk": "discnumber",
    "tmpo": "bpm", "sonm": "titlesort", "soar": "artistsort", "soal": "albumsort",
    "soaa": "albumartistsort", "soco": "composersort", "sosn": "showsort", "tvsh": "show", "©wrk": "work",
    "©mvn": "movementname", "©nrt": "narrator", "purl": "podcasturl", "egid": "podcastid",
    "catg": "podcastcategory", "keyw": "podcastkeywords",
}  # fmt: skip
MP4_KEYS = {
    "displayname": "title", "creationdate": "date", "year": "date", "author": "artist",
    "information": "comment", "software": "encodedby", "encoder": "encodedby", "track": "tracknumber",
    "location.ISO6709": "location",
}  # fmt: skip
THREE_GPP = {
    b"titl": "title", b"perf": "artist", b"albm": "album", b"gnre": "genre", b"yrrc": "date",
    b"dscp": "description", b"cprt": "copyright", b"kywd": "keywords",
}  # fmt: skip
ASF = {
    "Title": "title", "Author": "artist", "WM/AlbumTitle": "album", "WM/AlbumArtist": "albumartist",
    "WM/Composer": "composer", "WM/Writer": "lyricist", "WM/Conductor": "conductor", "WM/Genre": "genre",
    "WM/Year": "date", "WM/OriginalReleaseYear": "originaldate", "WM/TrackNumber": "tracknumber",
    "WM/PartOfSet": "discnumber", "Description": "comment", "Copyright": "copyright", "WM/Lyrics": "lyrics",
    "WM/ISRC": "isrc", "WM/Publisher": "label", "WM/EncodedBy": "encodedby", "WM/BeatsPerMinute": "bpm",
    "WM/Mood": "mood", "WM/Language": "language", "WM/ContentGroupDescription": "grouping",
    "WM/SubTitle": "subtitle", "WM/TitleSortOrder": "titlesort", "WM/ArtistSortOrder": "artistsort",
    "WM/AlbumSortOrder": "albumsort",
}  # fmt: skip
