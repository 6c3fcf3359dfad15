"""What voices say: everyday sentences in many languages, written for this, and espeak-ng's voice for each.

They say nothing of persons, politics, health or money, and quote nobody. Text is in the language's own script, as
espeak-ng reads it (Japanese in kana with spaces, as in books for children; Arabic with few vowel signs).
`docs/languages.md` says what was checked of each, and what nobody has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SCRIPTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Latin": frozenset({"LATIN"}),
        "Cyrillic": frozenset({"CYRILLIC"}),
        "Arabic": frozenset({"ARABIC"}),
        "Devanagari": frozenset({"DEVANAGARI"}),
        "kana": frozenset({"HIRAGANA", "KATAKANA"}),
        "Chinese": frozenset({"CJK", "IDEOGRAPHIC"}),
    }
)
"""How the Unicode names of a script's letters begin."""

_LOW = ("", "+m1", "+m2", "+m3", "+m4", "+m7")
_HIGH = ("+f1", "+f2", "+f3", "+f4", "+f5")


@dataclass(frozen=True)
class Language:
    """A language: its English `name`, espeak-ng's `voice`, its `script`, whether it is `tonal`, and what is said in it.

    `short` are others of half the length, without a stop at the end: slowed down, its pause would be taken for the end of the
    speech. `words` are those of the sentences of which one alone can be said, in small letters.
    """

    name: str
    voice: str
    script: str
    tonal: bool
    sentences: tuple[str, ...]
    short: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def spaced(self) -> bool:
        """Whether words have spaces between them."""
        return self.script != "Chinese"

    @property
    def low(self) -> tuple[str, ...]:
        """Voices as of men."""
        return tuple(self.voice + variant for variant in _LOW)

    @property
    def high(self) -> tuple[str, ...]:
        """Voices as of women."""
        return tuple(self.voice + variant for variant in _HIGH)


def _language(name: str, voice: str, script: str, lines: str, short: str, *, tonal: bool = False) -> Language:
    """Sentences a line; those in Chinese script have spaces between words here, and nowhere else."""
    written = [line.strip() for line in lines.strip().splitlines()]
    least = {"Chinese": 2, "kana": 3}.get(script, 4)
    words = {word.strip("。，、,.").lower() for line in written for word in line.split()}
    sentences = (line.replace(" ", "") if script == "Chinese" else line for line in written)
    alone = tuple(sorted(word for word in words if len(word) >= least))
    return Language(
        name, voice, script, tonal, tuple(sentences), tuple(line.strip() for line in short.strip().splitlines()), alone
    )


def script_of(voice: str) -> str | None:
    """The script that an espeak-ng voice reads; None for languages that are not in the table.

    Voices of a country or region (`en-gb`) read that of their language, those that end in `-latn-…` Latin.
    """
    base = voice.partition("+")[0].lower()
    if "-latn" in base:
        return "Latin"
    code = base.partition("-")[0]
    return LANGUAGES[code].script if code in LANGUAGES else None


LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        "en": _language(
            "English",
            "en-us",
            "Latin",
            """
            The weather should be dry until the evening.
            Our train leaves at nine, so there is time for tea.
            Please put the blue cups back on the upper shelf.
            We walked along the river and over the old bridge.
            She reads a chapter of her book every morning.
            The bakery around the corner opens before seven.
            He painted the garden fence a warm shade of green.
            Nobody knew why the little boat was called Pepper.
            A bowl of soup is all I want after such a day.
            They moved the piano to the room with big windows.
            I always forget which of the keys opens the cellar.
            The museum shows maps that are four hundred years old.
            My neighbour grows tomatoes and beans on his balcony.
            The meeting begins at ten and will be over by noon.
            You can see the mountains from the top of the tower.
            Fresh snow covered the village and all of its roofs.
            The children built a bridge from paper and string.
            We have moved the lamp a bit closer to the sofa.
            A good map and warm shoes are all that you need.
            The post office is behind the market, on the left.
            He whistles while he waters the plants in the hall.
            Most of the apples fell before we could pick them.
            The bus stops here four times an hour on weekdays.
            She found a box of buttons under the wooden stairs.
            """,
            """
            The tea is ready for us now.
            We live very near the river.
            It rained hard all night long.
            The kitchen window is open.
            Let us go outside for a while.
            Supper is already on the table.
            """,
        ),
        "de": _language(
            "German",
            "de",
            "Latin",
            """
            Heute bleibt das Wetter bis zum Abend trocken.
            Der Zug fährt um neun, wir haben noch Zeit für Tee.
            Bitte stell die blauen Tassen wieder ins Regal.
            Wir gingen am Fluss entlang und über die Brücke.
            Die Bäckerei an der Ecke öffnet schon um sieben.
            Ich vergesse immer, welcher Schlüssel der richtige ist.
            Von oben kann man die Berge gut sehen.
            Der Bus hält hier viermal in der Stunde.
            Im Garten blühen die ersten roten Tulpen.
            Die Lampe steht jetzt näher am Fenster.
            Frischer Schnee liegt auf allen Dächern im Dorf.
            Am Sonntag backen wir einen Kuchen mit Äpfeln.
            Das Buch liegt auf dem Tisch neben der Tür.
            """,
            """
            Nun kommt auch der Tee.
            Am Park ist unsere Schule.
            Heute kommt kein Regen.
            Das Fenster steht noch offen.
            Bald kommt unsere Bahn.
            """,
        ),
        "es": _language(
            "Spanish",
            "es",
            "Latin",
            """
            Hoy el tiempo será seco hasta la noche.
            El tren sale a las nueve, tenemos tiempo para un té.
            Pon las tazas azules en el estante de arriba.
            Caminamos junto al río y cruzamos el puente.
            La panadería de la esquina abre a las siete.
            Nunca recuerdo qué llave abre esta puerta.
            Desde la torre se ven las montañas.
            El autobús pasa por aquí cuatro veces por hora.
            En el jardín ya hay flores rojas y amarillas.
            La lámpara está ahora más cerca de la ventana.
            La nieve cubre todos los tejados del pueblo.
            El domingo hacemos una tarta de manzana.
            El libro está en la mesa, al lado de la puerta.
            """,
            """
            El té ya está listo.
            Vivimos cerca del parque.
            Ayer llovió mucho aquí.
            La ventana está abierta.
            El tren llega muy pronto.
            """,
        ),
        "fr": _language(
            "French",
            "fr",
            "Latin",
            """
            Le temps restera sec jusqu'à ce soir.
            Le train part à neuf heures, nous avons le temps.
            Remets les tasses bleues sur la petite étagère.
            Nous marchons le long de la rivière.
            La boulangerie du coin ouvre à sept heures.
            J'oublie toujours quelle clé ouvre cette porte.
            On voit bien les montagnes depuis la tour.
            Le bus passe ici quatre fois par heure.
            Les premières fleurs rouges poussent dans le jardin.
            La lampe est maintenant plus près de la fenêtre.
            La neige couvre tous les toits du village.
            Dimanche, nous faisons une tarte aux pommes.
            Le livre est sur la table, à côté de la porte.
            """,
            """
            Le thé est enfin prêt.
            Nous habitons près de la mer.
            Il a beaucoup plu cette nuit.
            La fenêtre est au milieu.
            Le train arrive bientôt ici.
            """,
        ),
        "it": _language(
            "Italian",
            "it",
            "Latin",
            """
            Oggi il tempo resta bello fino a sera.
            Il treno parte alle nove, abbiamo tempo per un tè.
            Rimetti le tazze blu sullo scaffale in alto.
            Camminiamo lungo il fiume e passiamo il ponte.
            Il forno all'angolo apre prima delle sette.
            Non ricordo mai quale chiave apre questa porta.
            Dalla torre si vedono bene le montagne.
            L'autobus passa di qui quattro volte all'ora.
            Nel giardino ci sono già i primi fiori rossi.
            La lampada adesso è più vicina alla finestra.
            La neve copre tutti i tetti del paese.
            Domenica facciamo una torta di mele.
            Il libro è sul tavolo, accanto alla porta.
            """,
            """
            Il tè adesso è pronto.
            Abitiamo vicino al parco.
            Ieri sera ha piovuto.
            La finestra è aperta.
            Il treno arriva presto.
            """,
        ),
        "pt": _language(
            "Portuguese (Brazil)",
            "pt-br",
            "Latin",
            """
            Hoje o tempo fica seco até a noite.
            O trem sai às nove, temos tempo para um chá.
            Coloque as xícaras azuis de volta na prateleira.
            Andamos ao longo do rio e passamos pela ponte.
            A padaria da esquina abre antes das sete.
            Nunca lembro qual chave abre esta porta.
            Da torre dá para ver as montanhas.
            O ônibus passa aqui quatro vezes por hora.
            No jardim já há flores vermelhas e amarelas.
            A lâmpada agora está mais perto da janela.
            A neblina cobre todos os telhados da vila.
            No domingo fazemos um bolo de maçã.
            O livro está na mesa, ao lado da porta.
            """,
            """
            O chá está pronto.
            Moramos perto do parque.
            Ontem choveu muito.
            A janela está aberta.
            O trem chega logo.
            """,
        ),
        "nl": _language(
            "Dutch",
            "nl",
            "Latin",
            """
            Vandaag blijft het droog tot de avond.
            De trein vertrekt om negen uur, we hebben nog tijd.
            Zet de blauwe kopjes maar terug op de plank.
            We liepen langs de rivier en over de oude brug.
            De bakker op de hoek gaat om zeven uur open.
            Ik vergeet altijd welke sleutel de goede is.
            Vanaf de toren kun je de zee zien.
            De bus stopt hier vier keer per uur.
            In de tuin bloeien de eerste rode tulpen.
            De lamp staat nu dichter bij het raam.
            Er ligt verse sneeuw op alle daken van het dorp.
            Op zondag bakken we een taart met appels.
            Het boek ligt op de tafel naast de deur.
            """,
            """
            De thee is nu klaar.
            Wij wonen bij de haven.
            Vandaag valt er regen.
            Het raam staat nog open.
            De volgende trein komt zo.
            """,
        ),
        "pl": _language(
            "Polish",
            "pl",
            "Latin",
            """
            Dzisiaj pogoda jest ładna i ciepła.
            Pociąg odjeżdża o dziewiątej, mamy jeszcze czas.
            Postaw niebieskie kubki na górnej półce.
            Idziemy wzdłuż rzeki i przez stary most.
            Piekarnia na rogu otwiera się o siódmej.
            Zawsze zapominam, który klucz otwiera te drzwi.
            Z wieży dobrze widać góry.
            Autobus zatrzymuje się tu cztery razy na godzinę.
            W ogrodzie kwitną pierwsze czerwone tulipany.
            Lampa stoi teraz bliżej okna.
            Świeży śnieg leży na wszystkich dachach.
            W niedzielę pieczemy ciasto z jabłkami.
            Książka leży na stole obok drzwi.
            """,
            """
            Herbata jest gotowa.
            Mieszkamy blisko parku.
            Wczoraj padało rano.
            Okno jest otwarte.
            Pociąg zaraz przyjedzie.
            """,
        ),
        "tr": _language(
            "Turkish",
            "tr",
            "Latin",
            """
            Bugün hava akşama kadar güzel olacak.
            Tren dokuzda kalkıyor, çay için vaktimiz var.
            Mavi fincanları üst rafa geri koy.
            Nehir boyunca yürüdük ve köprüden geçtik.
            Köşedeki fırın sabah yedide açılıyor.
            Bu kapıyı hangi anahtar açıyor, hep unutuyorum.
            Kuleden dağlar çok güzel görünüyor.
            Otobüs burada saatte dört kez duruyor.
            Bahçede ilk kırmızı çiçekler açtı.
            Lamba şimdi pencereye daha yakın.
            Köydeki bütün çatılar karla kaplı.
            Pazar günü elmalı kek yapıyoruz.
            Kitap kapının yanındaki masanın üstünde.
            """,
            """
            Çay şimdi hazır.
            Parka yakın oturuyoruz.
            Dün yağmur yağdı.
            Pencere açık kaldı.
            Tren birazdan gelir.
            """,
        ),
        "id": _language(
            "Indonesian",
            "id",
            "Latin",
            """
            Hari ini cuaca cerah sampai sore.
            Kereta berangkat jam sembilan, kita masih punya waktu.
            Tolong simpan cangkir biru di rak atas.
            Kami berjalan di tepi sungai dan melewati jembatan.
            Toko roti di sudut jalan buka jam tujuh.
            Saya selalu lupa kunci mana untuk pintu ini.
            Dari menara ini kita bisa melihat gunung.
            Bus berhenti di sini empat kali setiap jam.
            Bunga merah di kebun sudah mulai mekar.
            Sekarang lampu itu lebih dekat ke jendela.
            Pagi ini kabut menutupi semua atap rumah.
            Hari Minggu kami membuat kue apel.
            Buku itu ada di meja dekat pintu.
            """,
            """
            Tehnya sudah ada.
            Kami tinggal dekat taman.
            Kemarin turun hujan.
            Jendelanya terbuka.
            Kereta segera tiba.
            """,
        ),
        "sw": _language(
            "Swahili",
            "sw",
            "Latin",
            """
            Leo hali ya hewa ni nzuri sana.
            Treni inaondoka saa tatu, tuna muda wa kunywa chai.
            Tafadhali weka vikombe vya bluu juu ya meza.
            Tulitembea kando ya mto na kuvuka daraja.
            Duka la mikate linafunguliwa saa moja asubuhi.
            Ninasahau kila mara ufunguo wa mlango huu.
            Kutoka hapa tunaweza kuona milima vizuri.
            Basi linasimama hapa mara nne kila saa.
            Maua mekundu yako katika bustani.
            Sasa taa iko karibu na dirisha.
            Mvua ilinyesha usiku katika kijiji chetu.
            Jumapili tunapika chakula pamoja nyumbani.
            Kitabu kiko juu ya meza karibu na mlango.
            """,
            """
            Chai iko tayari.
            Tunaishi karibu na mto.
            Jana mvua ilinyesha.
            Dirisha liko wazi.
            Treni inakuja sasa.
            """,
        ),
        "ru": _language(
            "Russian",
            "ru",
            "Cyrillic",
            """
            Сегодня до вечера будет хорошая погода.
            Поезд уходит в девять, у нас есть время.
            Поставь синие чашки на верхнюю полку.
            Мы шли вдоль реки и через старый мост.
            Булочная на углу открывается в семь утра.
            Я всегда забываю, какой ключ от этой двери.
            С башни хорошо видны горы.
            Автобус останавливается здесь четыре раза в час.
            В саду уже цветут красные тюльпаны.
            Лампа теперь стоит ближе к окну.
            Свежий снег лежит на всех крышах деревни.
            В воскресенье мы печём пирог с яблоками.
            Книга лежит на столе рядом с дверью.
            """,
            """
            Чай готов уже давно.
            Мы живём около парка.
            Этой ночью была гроза.
            Окно ещё открыто.
            Скоро будет станция.
            """,
        ),
        "ar": _language(
            "Arabic",
            "ar",
            "Arabic",
            """
            الطقس جميل اليوم حتى المساء.
            يغادر القطار في التاسعة، لدينا وقت للشاي.
            ضع الأكواب الزرقاء على الرف العلوي.
            مشينا بجانب النهر وعبرنا الجسر القديم.
            يفتح المخبز القريب في السابعة صباحا.
            أنسى دائما أي مفتاح يفتح هذا الباب.
            نرى الجبال من أعلى البرج.
            تقف الحافلة هنا أربع مرات في الساعة.
            في الحديقة زهور حمراء وصفراء.
            المصباح الآن أقرب إلى النافذة.
            يغطي الثلج كل سطوح القرية.
            يوم الأحد نخبز كعكة بالتفاح.
            الكتاب على الطاولة بجانب الباب.
            """,
            """
            الشاي جاهز الآن.
            نسكن قرب الحديقة.
            هطل المطر أمس.
            النافذة مفتوحة.
            القطار يصل قريبا.
            """,
        ),
        "hi": _language(
            "Hindi",
            "hi",
            "Devanagari",
            """
            आज शाम तक मौसम अच्छा रहेगा।
            गाड़ी नौ बजे जाती है, चाय के लिए समय है।
            नीले प्याले ऊपर वाली अलमारी में रख दो।
            हम नदी के किनारे चले और पुल पार किया।
            कोने की दुकान सुबह सात बजे खुलती है।
            मैं हमेशा भूल जाता हूँ कि चाबी कहाँ है।
            इस मीनार से पहाड़ साफ़ दिखते हैं।
            बस यहाँ एक घंटे में चार बार रुकती है।
            बगीचे में लाल और पीले फूल खिले हैं।
            दीपक अब खिड़की के ज़्यादा पास है।
            गाँव की सब छतों पर बर्फ़ पड़ी है।
            रविवार को हम सब मिलकर खाना बनाते हैं।
            किताब दरवाज़े के पास मेज़ पर रखी है।
            """,
            """
            चाय अब तैयार है।
            हम बाग के पास रहते हैं।
            कल शाम बारिश हुई थी।
            खिड़की अभी खुली है।
            गाड़ी अब आने वाली है।
            """,
        ),
        "ja": _language(
            "Japanese",
            "ja",
            "kana",
            """
            きょうは ゆうがたまで てんきが いいです。
            でんしゃは くじに でますから、まだ じかんが あります。
            あおい カップを うえの たなに もどして ください。
            かわに そって あるいて、はしを わたりました。
            かどの パンやは しちじに あきます。
            この ドアの かぎを いつも わすれます。
            とうの うえから やまが よく みえます。
            バスは いちじかんに よんかい とまります。
            にわに あかい はなが さいて います。
            ランプは いま まどの ちかくに あります。
            むらの やねに ゆきが つもって います。
            にちようびに りんごの ケーキを つくります。
            ほんは ドアの となりの つくえに あります。
            """,
            """
            おちゃが できました。
            こうえんの ちかくでした。
            きのうは あめでした。
            まどが あいていました。
            でんしゃが いま きました。
            """,
        ),
        "cmn": _language(
            "Chinese (Mandarin)",
            "cmn",
            "Chinese",
            """
            今天 的 天气 很 好，我们 去 河边 走走。
            火车 九点 开，我们 还有 时间 喝茶。
            请 把 蓝色 的 杯子 放在 上面。
            我们 沿着 河边 走，过了 一座 老桥。
            街角 的 面包店 早上 七点 开门。
            我 总是 忘记 哪把 钥匙 开 这个 门。
            从 高楼 上面 可以 看见 远处 的 山。
            公共汽车 每个 小时 在 这里 停 四次。
            花园 里面 已经 有 红色 的 花 了。
            现在 台灯 离 窗户 更近 了。
            村子 里面 的 屋顶 都 是 白雪。
            星期天 我们 在家 做 苹果 蛋糕。
            那本 书 在 门边 的 桌子 上面。
            """,
            """
            茶已经泡好了。
            我们住在河边。
            昨天下雨了。
            窗户还开着。
            火车快到了。
            """,
            tonal=True,
        ),
        "yue": _language(
            "Chinese (Cantonese)",
            "yue",
            "Chinese",
            """
            今日 天氣 好好，我哋 去 河邊 行下。
            火車 九點 開，我哋 仲有 時間 飲茶。
            唔該 將 藍色 嘅 杯 放返 上面。
            我哋 沿住 河邊 行，過咗 一條 舊橋。
            街角 嘅 麵包舖 朝早 七點 開門。
            我 成日 唔記得 邊條 鎖匙 開 呢度 門。
            喺 高樓 上面 可以 睇到 遠處 嘅 山。
            巴士 每個 鐘頭 喺 呢度 停 四次。
            花園 入面 已經 有 紅色 嘅 花。
            而家 枱燈 離 窗口 近啲。
            條村 嘅 屋頂 全部 都 係 雪。
            星期日 我哋 喺 屋企 整 蘋果 蛋糕。
            嗰本 書 喺 門口 旁邊 嘅 枱 上面。
            """,
            """
            茶已經沖好。
            我哋住喺河邊。
            琴日落大雨。
            窗仲開住。
            火車就到喇。
            """,
            tonal=True,
        ),
        "vi": _language(
            "Vietnamese",
            "vi",
            "Latin",
            """
            Hôm nay trời đẹp cho đến buổi tối.
            Tàu chạy lúc chín giờ, chúng ta còn thời gian uống trà.
            Hãy đặt những chiếc cốc xanh lên kệ trên.
            Chúng tôi đi dọc bờ sông và qua cây cầu cũ.
            Tiệm bánh ở góc phố mở cửa lúc bảy giờ.
            Tôi luôn quên chìa khóa nào mở cửa này.
            Từ trên tháp có thể nhìn thấy núi.
            Xe buýt dừng ở đây bốn lần mỗi giờ.
            Trong vườn đã có hoa đỏ và hoa vàng.
            Bây giờ cái đèn gần cửa sổ hơn.
            Sương mù phủ kín các mái nhà trong làng.
            Chủ nhật chúng tôi làm bánh táo ở nhà.
            Quyển sách nằm trên bàn cạnh cửa.
            """,
            """
            Trà nóng đã sẵn sàng.
            Nhà tôi ở gần con sông.
            Hôm qua trời mưa rất to.
            Cửa sổ vẫn đang mở.
            Tàu của chúng ta sắp đến.
            """,
            tonal=True,
        ),
    }
)
"""Languages by their code (ISO 639; `cmn` Mandarin, `yue` Cantonese)."""
