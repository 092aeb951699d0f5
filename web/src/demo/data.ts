// Who speaks in the make-believe engine, and what they say, in each language.
import type { Locale } from "../app/locale.svelte.ts";

export const people = {
  ayna: "Aýna Orazowa", batyr: "Batyr Annaýew", jeren: "Jeren Saparowa", merdan: "Merdan Öwezow", oguljan: "Oguljan eje",
  kerim: "Kerim aga", maral: "Maral Durdyýewa", guest: "Camille Martin",
};

interface Lines {
  family: string; work: string; news: string; school: string; space: string; file: string; draft: string;
  q: string; g1: string; g2: string; g3: string; g4: string; g5: string; g6: string; g6h: string; poll: string; answers: string[];
  b1: string; b2: string; b3: string; w1: string; n1: string; j1: string; k1: string; s1: string;
}

export const lines: Record<Locale, Lines> = {
  en: {
    family: "Family", work: "Night shift", news: "City library", school: "Class 7B, parents", space: "Hospital", file: "Programme of the feast.pdf", draft: "Shall I bring the",
    q: "Who comes to grandmother on Saturday? I bring the melons.", g1: "The mulberries are ripe!", g2: "Our garden this evening", g3: "How beautiful! Keep some for us 😊",
    g4: "Then I fetch you at eight.", g5: "We are five in the car.", g6: "I have put the list together, everybody look please", g6h: "I have put <strong>the list</strong> together, everybody look please",
    poll: "When do we eat?", answers: ["At one o’clock", "At three", "In the evening"],
    b1: "Good morning! Did the parcel arrive?", b2: "Yes, yesterday evening. Thank you so much!", b3: "I am here, at the second gate", w1: "@Aýna the rota for next week is ready", n1: "From today the reading room is open until 21:00",
    j1: "See you on Friday then", k1: "The contract is in your mail", s1: "Who can help with the excursion on Thursday?",
  },
  tk: {
    family: "Maşgala", work: "Gijeki nobat", news: "Şäher kitaphanasy", school: "7B synp, ene-atalar", space: "Hassahana", file: "Toýuň tertibi.pdf", draft: "Özüm bilen getireýinmi",
    q: "Şenbe güni enemlere kim gelýär? Gawunlary men getirýärin.", g1: "Tutlar bişdi!", g2: "Şu agşam biziň bagymyz", g3: "Nähili owadan! Bize hem goýuň 😊",
    g4: "Onda sagat sekizde alyp giderin.", g5: "Maşynda bäş adam bolýarys.", g6: "Sanawy taýýarladym, hemmäňiz serediň", g6h: "<strong>Sanawy</strong> taýýarladym, hemmäňiz serediň",
    poll: "Haçan nahar iýýäris?", answers: ["Sagat birde", "Sagat üçde", "Agşam"],
    b1: "Ertiriň haýyrly! Gapjyk gelip gowuşdymy?", b2: "Hawa, düýn agşam. Köp sag boluň!", b3: "Men şu ýerde, ikinji derwezäniň ýanynda", w1: "@Aýna indiki hepdäniň nobat sanawy taýýar", n1: "Şu günden okalga zaly 21:00-a çenli açyk",
    j1: "Onda anna güni görüşýäris", k1: "Şertnama poçtaňyzda", s1: "Penşenbe gezelenjinde kim kömek edip biler?",
  },
  ru: {
    family: "Семья", work: "Ночная смена", news: "Городская библиотека", school: "7 «Б», родители", space: "Больница", file: "Программа праздника.pdf", draft: "Мне захватить с собой",
    q: "Кто в субботу едет к бабушке? Дыни привезу я.", g1: "Шелковица поспела!", g2: "Наш сад сегодня вечером", g3: "Какая красота! Оставьте и нам 😊",
    g4: "Тогда заеду за вами в восемь.", g5: "В машине нас пятеро.", g6: "Составила список, посмотрите все, пожалуйста", g6h: "Составила <strong>список</strong>, посмотрите все, пожалуйста",
    poll: "Когда обедаем?", answers: ["В час", "В три", "Вечером"],
    b1: "Доброе утро! Посылка дошла?", b2: "Да, вчера вечером. Большое спасибо!", b3: "Я на месте, у вторых ворот", w1: "@Aýna график на следующую неделю готов", n1: "С сегодняшнего дня читальный зал открыт до 21:00",
    j1: "Тогда до пятницы", k1: "Договор у вас в почте", s1: "Кто поможет с экскурсией в четверг?",
  },
  fr: {
    family: "Famille", work: "Équipe de nuit", news: "Bibliothèque municipale", school: "5e B, parents", space: "Hôpital", file: "Programme de la fête.pdf", draft: "Est-ce que j’apporte",
    q: "Qui vient chez grand-mère samedi ? J’apporte les melons.", g1: "Les mûres sont mûres !", g2: "Notre jardin ce soir", g3: "Que c’est beau ! Gardez-nous-en 😊",
    g4: "Alors je passe vous prendre à huit heures.", g5: "Nous sommes cinq dans la voiture.", g6: "J’ai préparé la liste, regardez tous s’il vous plaît", g6h: "J’ai préparé <strong>la liste</strong>, regardez tous s’il vous plaît",
    poll: "On mange à quelle heure ?", answers: ["À treize heures", "À quinze heures", "Le soir"],
    b1: "Bonjour ! Le colis est arrivé ?", b2: "Oui, hier soir. Merci beaucoup !", b3: "Je suis là, au deuxième portail", w1: "@Aýna le planning de la semaine prochaine est prêt", n1: "Dès aujourd’hui la salle de lecture ferme à 21 h",
    j1: "Alors à vendredi", k1: "Le contrat est dans votre courriel", s1: "Qui peut aider à la sortie de jeudi ?",
  },
};

/** A picture of our own: an evening garden before the mountains. */
export const PICTURE = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 400" width="1200" height="800">
<defs><linearGradient id="s" x2="0" y2="1"><stop stop-color="#f3c58e"/><stop offset=".55" stop-color="#e8937a"/><stop offset="1" stop-color="#b5585f"/></linearGradient></defs>
<rect width="600" height="400" fill="url(#s)"/><circle cx="430" cy="150" r="46" fill="#fff1d0"/>
<path d="M0 230 90 160l60 45 90-90 110 110 80-60 170 90v170H0z" fill="#8a4a5c"/><path d="M0 275 130 215l120 55 150-70 200 90v120H0z" fill="#5d3549"/>
<path d="M0 310q150-40 300-10t300-5v105H0z" fill="#3d4a34"/><g fill="#2c3a2a"><path d="M95 330v-70h10v70z"/><circle cx="100" cy="240" r="38"/><circle cx="70" cy="262" r="26"/><circle cx="130" cy="260" r="28"/><path d="M470 345v-60h9v60z"/><circle cx="475" cy="270" r="32"/><circle cx="450" cy="285" r="22"/><circle cx="500" cy="286" r="22"/></g>
<path d="M250 400q10-70 60-95t70-8q-50 30-50 103z" fill="#c9a57b"/><g fill="#c8324a"><circle cx="80" cy="250" r="5"/><circle cx="118" cy="236" r="5"/><circle cx="102" cy="262" r="5"/><circle cx="462" cy="268" r="4"/><circle cx="486" cy="280" r="4"/></g></svg>`;
